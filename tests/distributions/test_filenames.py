"""File names of wheels and sdists: parsed, unchanged, rebuilt."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.version import Version

from pyoci.distributions.filenames import (
    FILENAME_LIMIT,
    SDIST_ENDINGS,
    Distribution,
    Sdist,
    Wheel,
    filename_version_text,
    parse_filename,
    read_version,
    rebuild_filename,
)
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from tests.distributions.strategies import names, suffixes, tails, version_texts


def wheel(name: str, version: str, tail: str, filename: str) -> Wheel:
    return Wheel(ProjectName(name), Version(version), tail, filename)


def sdist(name: str, version: str, ending: str, filename: str) -> Sdist:
    return Sdist(ProjectName(name), Version(version), ending, filename)


@pytest.mark.parametrize(
    ("expected", "version_text"),
    [
        (wheel("hello-world", "1.0", "py3-none-any.whl", "hello_world-1.0-py3-none-any.whl"), "1.0"),
        (
            wheel("a", "1.0", "1-cp311-cp311-linux_x86_64.whl", "a-1.0-1-cp311-cp311-linux_x86_64.whl"),
            "1.0",
        ),
        (wheel("hello-world", "1!2.0", "py3-none-any.whl", "Hello.World-1!2.0-py3-none-any.whl"), "1!2.0"),
        (wheel("a", "1.0+ubuntu.1", "py3-none-any.whl", "a-1.0+ubuntu_1-py3-none-any.whl"), "1.0+ubuntu_1"),
        (wheel("a", "1.0rc1", "py2.py3-none-any.whl", "a-1.0RC1-py2.py3-none-any.whl"), "1.0RC1"),
        (
            wheel(
                "numpy",
                "2.1.0",
                "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                "numpy-2.1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            ),
            "2.1.0",
        ),
        (sdist("hello-world", "1.0", ".tar.gz", "hello_world-1.0.tar.gz"), "1.0"),
        (sdist("hello-world", "1.0", ".tar.gz", "Hello.World-1.0.tar.gz"), "1.0"),
        (sdist("hello-world", "1.0", ".zip", "hello-world-1.0.zip"), "1.0"),
        (sdist("hello-world", "1.0rc1", ".zip", "hello-world-1.0RC1.zip"), "1.0RC1"),
        (sdist("twisted", "12.0.0", ".tar.bz2", "Twisted-12.0.0.tar.bz2"), "12.0.0"),
        (sdist("hello-world", "1.0rc1", ".tgz", "hello-world-1.0RC1.tgz"), "1.0RC1"),
        (sdist("a-1-0", "1", ".tar.gz", "a-1.0-1.tar.gz"), "1"),
        (sdist("a", "1!2.0+cu.121", ".tar.gz", "a-1!2.0+cu.121.tar.gz"), "1!2.0+cu.121"),
    ],
    ids=lambda value: value.filename if isinstance(value, Wheel | Sdist) else "",
)
def test_parse(expected: Distribution, version_text: str) -> None:
    """A file name has project, version and suffix, and keeps its spelling."""
    found = parse_filename(expected.filename)
    assert found == expected
    assert found.filename == expected.filename
    assert filename_version_text(found) == version_text


@pytest.mark.parametrize(
    ("filename", "project", "version", "version_text"),
    [
        ("hello-world-2.1.2-beta.tar.gz", "hello-world", "2.1.2b0", "2.1.2-beta"),
        ("elementtree-1.2.6-20050316.zip", "elementtree", "1.2.6.post20050316", "1.2.6-20050316"),
        ("elementtree-1.2.6-20050316.tar.bz2", "elementtree", "1.2.6.post20050316", "1.2.6-20050316"),
        ("zope.interface-1.0-2.tar.gz", "zope-interface", "1.0.post2", "1.0-2"),
        ("calver-pkg-1-0+ubuntu-3.tar.gz", "calver-pkg", "1.post0+ubuntu.3", "1-0+ubuntu-3"),
        ("a-1.0-1.tar.gz", "a", "1.0.post1", "1.0-1"),
        ("a-1.0-1.tar.gz", "a-1-0", "1", "1"),
        ("hello_world-1.0.tar.gz", "other", "1.0", "1.0"),
    ],
)
def test_sdists_of_a_known_project(filename: str, project: str, version: str, version_text: str) -> None:
    """The version is the part after the project's name. For another project's file the
    name doesn't matter.
    """
    found = parse_filename(filename, ProjectName(project))
    assert (str(found.version), found.filename) == (version, filename)
    assert found.name == ProjectName("hello-world" if project == "other" else project)
    assert filename_version_text(found) == version_text


def test_no_sdist_of_a_known_project() -> None:
    """The message has the project's name."""
    with pytest.raises(InvalidRequest, match=r"expected calver-pkg-version\.tar\.gz with a PEP 440 version"):
        parse_filename("calver-pkg-1-0-x.tar.gz", ProjectName("calver-pkg"))


def test_kinds() -> None:
    """The two kinds have the names of the upload form, and the suffix for the platform annotation."""
    found = parse_filename("a-1.0-py3-none-any.whl"), parse_filename("a-1.0.zip")
    assert [(each.filetype, each.suffix) for each in found] == [
        ("bdist_wheel", "py3-none-any.whl"),
        ("sdist", ".zip"),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("", "not a file name", id="empty"),
        pytest.param("../a-1.0.tar.gz", "path", id="parent"),
        pytest.param("a..b-1.0.tar.gz", "path", id="two dots"),
        pytest.param("a/b-1.0.tar.gz", "path", id="slash"),
        pytest.param("a\\b-1.0.tar.gz", "path", id="backslash"),
        pytest.param("a-1.0\0.tar.gz", "not a file name", id="NUL"),
        pytest.param("a-1.0.tar.gz\n", "not a file name", id="newline last"),
        pytest.param("a-1.0\r\nX: y.tar.gz", "not a file name", id="header injection"),
        pytest.param("a-1.0\x7f.zip", "not a file name", id="DEL"),
        pytest.param("h\xe9-1.0.zip", "not a file name", id="accent"),
        pytest.param("a-\u0661.0.zip", "not a file name", id="digit of another script"),
        pytest.param("\ud800-1.0.zip", "not a file name", id="surrogate"),
        pytest.param("a-1.0 -py3-none-any.whl", "not a file name", id="blank after version"),
        pytest.param("a-%31.0.zip", "not a file name", id="percent"),
        pytest.param("a-1.0." + "0" * 255 + ".zip", "over 255", id="long"),
        pytest.param("a-1.0.egg", "neither", id="egg"),
        pytest.param("a-1.0.exe", "neither", id="exe"),
        pytest.param("a-1.0.tar", "neither", id="not packed"),
        pytest.param("a-1.0.tar.Z", "neither", id="compress"),
        pytest.param("a-1.0.tar.xz", "neither", id="xz"),
        pytest.param("a-1.0.tbz", "neither", id="tbz"),
        pytest.param("a-1.0.TAR.GZ", "neither", id="capitals"),
        pytest.param("a-1.0-py3-none-any.whl.asc", "neither", id="signature"),
        pytest.param("a-1.0-py3-none-any.whl.metadata", "neither", id="metadata"),
        pytest.param("a", "neither", id="name only"),
        pytest.param(".whl", "wheel", id="wheel ending only"),
        pytest.param("a-1.0.whl", "wheel", id="no tags"),
        pytest.param("a-1.0-py3-none.whl", "wheel", id="two tags"),
        pytest.param("a-1.0-x-py3-none-any.whl", "wheel", id="build without digit"),
        pytest.param("a-1.0-1-2-py3-none-any.whl", "wheel", id="too many parts"),
        pytest.param("a-banana-py3-none-any.whl", "wheel", id="wheel version"),
        pytest.param("-1.0-py3-none-any.whl", "name", id="wheel without name"),
        pytest.param("_a-1.0-py3-none-any.whl", "name", id="wheel name begins wrong"),
        pytest.param("a__b-1.0-py3-none-any.whl", "wheel", id="wheel name escaped wrong"),
        pytest.param("a+b-1.0-py3-none-any.whl", "wheel", id="wheel name with plus"),
        pytest.param(".tar.gz", "sdist", id="sdist ending only"),
        pytest.param("a.zip", "sdist", id="sdist without version"),
        pytest.param("a-banana.zip", "sdist", id="sdist version"),
        pytest.param("calver-pkg-1-0+ubuntu-3.tar.gz", "of an sdist; expected name-version", id="hyphens"),
        pytest.param("-1.0.zip", "name", id="sdist without name"),
        pytest.param("a!-1.0.zip", "name", id="sdist name"),
        pytest.param("a--1.0.zip", "name", id="sdist name ends in hyphen"),
    ],
)
def test_refused(text: str, sentence: str) -> None:
    """A text that isn't the file name of a wheel or sdist is refused with one line that says what was
    expected.
    """
    with pytest.raises(InvalidRequest, match=sentence) as caught:
        parse_filename(text)
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()
    assert "expected" in caught.value.message or f"over {FILENAME_LIMIT}" in caught.value.message


@pytest.mark.parametrize(
    ("version_text", "suffix", "filename"),
    [
        ("1.0", "py3-none-any.whl", "hello_world-1.0-py3-none-any.whl"),
        ("1.0RC1", "py3-none-any.whl", "hello_world-1.0RC1-py3-none-any.whl"),
        ("1.0+ubuntu_1", "py3-none-any.whl", "hello_world-1.0+ubuntu_1-py3-none-any.whl"),
        ("1.0+ubuntu-1", "py3-none-any.whl", "hello_world-1.0+ubuntu-1-py3-none-any.whl"),
        ("1!2.0", "1-cp311-abi3-any.whl", "hello_world-1!2.0-1-cp311-abi3-any.whl"),
        ("1.0", ".tar.gz", "hello_world-1.0.tar.gz"),
        ("1.0+ubuntu-1", ".tar.gz", "hello_world-1.0+ubuntu-1.tar.gz"),
        ("1!2.0", ".zip", "hello_world-1!2.0.zip"),
        ("1.0", ".tar.bz2", "hello_world-1.0.tar.bz2"),
        ("1.0", ".tgz", "hello_world-1.0.tgz"),
    ],
)
def test_rebuild(version_text: str, suffix: str, filename: str) -> None:
    """A file name is rebuilt from the parts in the registry, like in the Rust PyOCI."""
    found = rebuild_filename(ProjectName.parse("Hello.World"), version_text, suffix)
    assert (found.filename, found.suffix, found.version) == (filename, suffix, Version(version_text))
    assert found.name == ProjectName("hello-world")
    assert filename_version_text(found) == version_text


@pytest.mark.parametrize(
    ("version_text", "suffix"),
    [
        pytest.param("latest", ".tar.gz", id="no version"),
        pytest.param("1.0 ", ".tar.gz", id="blank after version"),
        pytest.param("9" * 5000, ".tar.gz", id="more digits than int() takes"),
        pytest.param("9" * 250, ".tar.gz", id="long"),
        pytest.param("1.0", "", id="no suffix"),
        pytest.param("1.0", "amd64", id="an image's architecture"),
        pytest.param("1.0", ".egg", id="egg"),
        pytest.param("1.0", ".whl", id="wheel without tags"),
        pytest.param("1.0", "py3-none.whl", id="two tags"),
        pytest.param("1.0", "1-2-py3-none-any.whl", id="too many parts"),
        pytest.param("1.0", "py3-none-any/../x.whl", id="path"),
        pytest.param("1.0", "py3-none-any\n.whl", id="newline"),
        pytest.param("1.0", "py3-none-\xe9.whl", id="accent"),
        pytest.param("1.0", "/.tar.gz", id="path to an sdist"),
    ],
)
def test_rebuild_refused(version_text: str, suffix: str) -> None:
    """A registry's document can't have a file name that no upload could have."""
    with pytest.raises(InvalidRequest):
        rebuild_filename(ProjectName("a"), version_text, suffix)


@given(names, version_texts(), suffixes)
def test_rebuild_is_inverse(name: str, version_text: str, suffix: str) -> None:
    """A rebuilt file name parses to the same parts, whatever the spelling of the version."""
    project = ProjectName.parse(name)
    rebuilt = rebuild_filename(project, version_text, suffix)
    found = parse_filename(rebuilt.filename)
    assert found == rebuilt
    assert (found.name, found.version, found.suffix) == (project, Version(version_text), suffix)
    assert filename_version_text(found) == version_text
    normalised = rebuild_filename(found.name, str(found.version), found.suffix)
    assert (normalised.name, normalised.version, normalised.suffix) == (
        found.name,
        found.version,
        found.suffix,
    )


@given(names, version_texts(), st.sampled_from(SDIST_ENDINGS))
def test_legacy_sdists(name: str, version_text: str, ending: str) -> None:
    """An sdist's name may have the author's spelling."""
    assume(".." not in name)
    found = parse_filename(f"{name}-{version_text}{ending}")
    assert found == Sdist(
        ProjectName.parse(name), Version(version_text), ending, f"{name}-{version_text}{ending}"
    )
    assert filename_version_text(found) == version_text


@given(st.text(max_size=40) | st.builds("{}-{}-{}".format, st.text(max_size=8), st.text(max_size=8), tails))
def test_any_text(text: str) -> None:
    """Any text is a file name and unchanged, or refused."""
    try:
        found = parse_filename(text)
    except InvalidRequest:
        return
    assert found.filename == text
    assert found.suffix in text


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.0", "1.0"),
        ("v1.0", "1.0"),
        ("1!2.0-RC.1+Ubuntu-1", "1!2.0rc1+ubuntu.1"),
        ("latest", None),
        ("", None),
        (" 1.0", None),
        ("1.0\n", None),
        ("1/0", None),
        ("\u0663", None),
        ("1" * 5000, None),
    ],
)
def test_read_version(text: str, version: str | None) -> None:
    """The whole text must be a version, in ASCII and of limited length."""
    found = read_version(text)
    assert (None if found is None else str(found)) == version
