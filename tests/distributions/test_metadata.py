"""CoreMetadata: parsed headers, and whether they agree with the file name."""

from __future__ import annotations

import io
import re
import tempfile
import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pyoci.distributions.filenames import parse_filename
from pyoci.distributions.metadata import (
    HEADER_LINE_LIMIT,
    HEADER_NAME_LIMIT,
    HEADERS_LIMIT,
    METADATA_LIMIT,
    URL_COUNT_LIMIT,
    VALUE_LIMIT,
    read_metadata,
    shown_requires_python,
)
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from tests.builders import make_metadata, make_sdist, make_tar, make_wheel, make_zip
from tests.distributions.conftest import Read, Refusal
from tests.distributions.strategies import names, version_texts

WHEEL = "hello_world-1.0-py3-none-any.whl"
BASE = b"Metadata-Version: 2.1\nName: hello-world\nVersion: 1.0\n"


def make_wheel_of(metadata: bytes) -> bytes:
    """A wheel with this METADATA."""
    return make_zip({"hello_world-1.0.dist-info/METADATA": metadata})


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        pytest.param(*make_wheel(), id="wheel"),
        pytest.param(*make_wheel(build="1", tag="cp311-cp311-linux_x86_64"), id="platform wheel"),
        pytest.param(*make_wheel("Hello.World", "1.0"), id="wheel with dots and capitals"),
        pytest.param(*make_wheel("hello-world", "1.0.0"), id="wheel with another spelling of the version"),
        pytest.param(*make_sdist(), id="tar.gz"),
        pytest.param(*make_sdist(ending=".zip"), id="zip"),
        pytest.param("Hello.World-1.0.tar.gz", make_sdist()[1], id="legacy name"),
    ],
)
def test_kinds(read: Read, filename: str, content: bytes) -> None:
    """Wheels and sdists of both kinds have name and version."""
    found = read(filename, content)
    assert (found.name, found.version) == (ProjectName("hello-world"), Version("1.0"))


def test_every_field(read: Read) -> None:
    """The fields that PyOCI uses are parsed, and the text is kept byte for byte."""
    headers = (
        ("Summary", "Says hello"),
        ("Project-URL", "Source, https://example.org/source,with,commas"),
        ("Home-page", "https://example.org"),
        ("Classifier", "Topic :: Education"),
        ("Classifier", "PyOCI :: Label :: team :: platform"),
        ("X-Unknown", "kept"),
    )
    filename, content = make_wheel(requires=["a>1"], requires_python=">=3.9,<4", extra_headers=headers)
    found = read(filename, content)
    assert found.requires_python == ">=3.9,<4"
    assert found.summary == "Says hello"
    assert found.classifiers == ("Topic :: Education", "PyOCI :: Label :: team :: platform")
    assert found.project_urls == (
        ("Source", "https://example.org/source,with,commas"),
        ("Homepage", "https://example.org"),
    )
    assert found.text == make_metadata(requires=["a>1"], requires_python=">=3.9,<4", extra_headers=headers)
    assert found.is_utf8


def test_bare(read: Read) -> None:
    """Name and version are enough."""
    found = read(WHEEL, make_wheel_of(b"Name: hello-world\nVersion: 1.0"))
    assert (found.requires_python, found.summary, found.project_urls, found.classifiers) == (
        None,
        None,
        (),
        (),
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BASE.replace(b"\n", b"\r\n") + b"\r\nbody\r\n", id="CRLF"),
        pytest.param(BASE.replace(b"\n", b"\r") + b"\rbody", id="CR"),
        pytest.param(BASE + b"\n" + "h\xe9llo \U0001f600".encode(), id="UTF-8 body"),
        pytest.param(BASE + b"\nbody\n\n\n", id="newlines last"),
        pytest.param(BASE + b"\nbody \0 \x1a", id="controls in the body"),
        pytest.param(BASE + "Summary: h\xe9llo\n".encode(), id="UTF-8 header"),
        pytest.param(
            BASE + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nName: other\n", id="multipart"
        ),
        pytest.param(BASE + b"\n" + b"x" * (METADATA_LIMIT - len(BASE) - 1), id="largest"),
    ],
)
def test_exact_text(read: Read, text: bytes) -> None:
    """METADATA is kept byte for byte, with any line ends and body."""
    found = read(WHEEL, make_wheel_of(text))
    assert found.text == text
    assert found.is_utf8


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BASE + b"\nh\xe9llo", id="body"),
        pytest.param(BASE + b"Summary: h\xe9llo\n", id="summary"),
        pytest.param(BASE + b"Author: h\xe9llo\n", id="other header"),
    ],
)
def test_latin_1(read: Read, text: bytes) -> None:
    """METADATA that isn't UTF-8 is accepted if name and version can be parsed; `is_utf8` is false."""
    found = read(WHEEL, make_wheel_of(text))
    assert found.text == text
    assert not found.is_utf8
    assert found.summary is None


@pytest.mark.parametrize(
    ("headers", "urls"),
    [
        pytest.param([("Home-page", "UNKNOWN")], (), id="unknown home page"),
        pytest.param([("Home-page", "")], (), id="empty home page"),
        pytest.param([("Project-URL", "Docs, UNKNOWN")], (), id="unknown URL"),
        pytest.param([("Project-URL", "Docs,"), ("Project-URL", ", https://x")], (), id="halves"),
        pytest.param([("Project-URL", "https://example.org")], (), id="no label"),
        pytest.param(
            [("Home-page", "https://a"), ("Project-URL", "homepage, https://b")],
            (("homepage", "https://b"),),
            id="home page twice",
        ),
        pytest.param(
            [
                ("Project-URL", "A, https://1"),
                ("Project-URL", "A, https://2"),
                ("Project-URL", "B, https://3"),
            ],
            (("A", "https://1"), ("B", "https://3")),
            id="a label twice",
        ),
        pytest.param([("Project-URL", "A, https://1\n  /2")], (("A", "https://1 /2"),), id="folded"),
    ],
)
def test_project_urls(read: Read, headers: list[tuple[str, str]], urls: tuple[tuple[str, str], ...]) -> None:
    """Project URLs are pairs of a label and a URL; Home-page is added as Homepage."""
    assert read(*make_wheel(extra_headers=headers)).project_urls == urls


@pytest.mark.parametrize(
    ("value", "summary"),
    [
        pytest.param("UNKNOWN", None, id="unknown"),
        pytest.param("", None, id="empty"),
        pytest.param("two\n        lines", "two lines", id="folded"),
        pytest.param("a\x1b[31mred\x07", "a[31mred", id="controls"),
    ],
)
def test_summary(read: Read, value: str, summary: str | None) -> None:
    """The summary is one line of printable text."""
    assert read(*make_wheel(extra_headers=[("Summary", value)])).summary == summary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("  ", None),
        ("UNKNOWN", None),
        (">=3.9", ">=3.9"),
        (">=3.9,\n        <4", ">=3.9, <4"),
        (" >= 3.9 , != 3.10.* ", ">= 3.9 , != 3.10.*"),
        ("~=3.8", "~=3.8"),
        (">=3.5.*", ">=3.5.*"),
        ("3", "3"),
        ("^3.8", "^3.8"),
        (">=3.6 <4", ">=3.6 <4"),
        ("===3\x07", None),
        ("===\xe9", None),
        (">=3" + ",>=3" * VALUE_LIMIT, None),
        (" " * VALUE_LIMIT * 3 + ">=3", None),
    ],
)
def test_requires_python(text: str, expected: str | None) -> None:
    """Requires-Python is shown on one line; a value that can't be shown is left out."""
    assert shown_requires_python(text) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(b"Requires-Python: >=3.5.*\n", ">=3.5.*", id="pylint 2.4.4, astroid 2.3.3"),
        pytest.param(b"Requires-Python: 3\n", "3", id="no operator"),
        pytest.param(b"Requires-Python: >3\n" * 2, None, id="two"),
        pytest.param(b"Requires-Python: \xe9\n", None, id="Latin-1"),
        pytest.param(b"Requires-Python: " + b">=3," * (HEADERS_LIMIT // 5), None, id="a megabyte"),
    ],
)
def test_a_file_is_not_refused_for_requires_python(read: Read, headers: bytes, expected: str | None) -> None:
    """Only the page needs it. Installers read METADATA, which is served unchanged."""
    found = read(WHEEL, make_wheel_of(BASE + headers))
    assert (found.requires_python, found.text) == (expected, BASE + headers)


def test_a_file_is_not_refused_for_its_urls(read: Read) -> None:
    """Only the page needs them: those over the limits are left out."""
    many = b"".join(b"Project-URL: %d, u\n" % n for n in range(URL_COUNT_LIMIT + 1))
    long = b"Project-URL: a, " + b"u" * VALUE_LIMIT + b"\n"
    urls = read(WHEEL, make_wheel_of(BASE + long + many)).project_urls
    assert urls == tuple((str(n), "u") for n in range(URL_COUNT_LIMIT))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(b"", "no Name", id="empty"),
        pytest.param(b"\n" + BASE, "no Name", id="headers in the body"),
        pytest.param(b"\0" * 100, "no Name", id="zeros"),
        pytest.param(b"Name: hello-world\n", "no Version", id="no version"),
        pytest.param(b"Version: 1.0\n", "no Name", id="no name"),
        pytest.param(b"Name:\nVersion: 1.0\n", "no Name", id="empty name"),
        pytest.param(BASE + b"Name: hello-world\n", "several Name", id="two names"),
        pytest.param(BASE + b"Version: 1.0\n", "several Version", id="two versions"),
        pytest.param(b"Name: h\xe9llo\nVersion: 1.0\n", "no Name", id="name in Latin-1"),
        pytest.param("Name: h\xe9llo\nVersion: 1.0\n".encode(), "not a project name", id="name with accent"),
        pytest.param(b"Name: other\nVersion: 1.0\n", "that of other", id="another project"),
        pytest.param(b"Name: hello-world\nVersion: 1.1\n", "version 1.1", id="another version"),
        pytest.param(b"Name: hello-world\nVersion: 1.0+local\n", "1.0+local", id="a local version"),
        pytest.param(b"Name: hello-world\nVersion: banana\n", "PEP 440", id="no PEP 440 version"),
        pytest.param(
            b"Name: hello-world\nVersion: " + b"9" * 5000, "PEP 440", id="a version of 5,000 digits"
        ),
        pytest.param(BASE + b"X: y\n" * HEADER_LINE_LIMIT, str(HEADER_LINE_LIMIT), id="many lines"),
        pytest.param(BASE + b"X: y\r" * HEADER_LINE_LIMIT, str(HEADER_LINE_LIMIT), id="many lines, CR"),
        pytest.param(BASE + b"X: " + b"y" * HEADERS_LIMIT, str(HEADERS_LIMIT), id="a long header"),
        pytest.param(
            BASE + b"".join(b"x%d: y\n" % n for n in range(HEADER_NAME_LIMIT)),
            "different headers",
            id="many headers",
        ),
        pytest.param(BASE + b"\n" + b"x" * METADATA_LIMIT, str(METADATA_LIMIT), id="too large"),
    ],
)
def test_refused(refusal: Refusal, text: bytes, sentence: str) -> None:
    """METADATA that can't be parsed, or is another file's, is refused with the reason."""
    assert sentence in refusal(WHEEL, make_wheel_of(text), megabytes=20)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"Content-Type: multipart/mixed; boundary=" + b"b" * 1_000_000, id="boundary"),
        pytest.param(b"content-type: message/rfc822\nA: b" * 10_000, id="message"),
        pytest.param(b"Content-Transfer-Encoding: base64\nX: " + b"y" * 1_000_000, id="encoding"),
    ],
)
def test_parts_of_a_message(read: Read, text: bytes) -> None:
    """METADATA isn't an e-mail: headers about its parts have no effect, and leave nothing in memory."""
    tracemalloc.start()
    try:
        assert read(WHEEL, make_wheel_of(BASE + text + b"\n")).version == Version("1.0")
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000
    assert peak < 20_000_000


def test_worst_headers(read: Read) -> None:
    """Headers at every limit are parsed in bounded memory."""
    names = [
        b"x%d: \xc3\xa9\n" % (number % (HEADER_NAME_LIMIT - 3)) for number in range(HEADER_LINE_LIMIT - 10)
    ]
    assert read(WHEEL, make_wheel_of(BASE + b"".join(names))).name.normalized == "hello-world"


@pytest.mark.parametrize(
    "where", ["hello_world-1.1.dist-info", "other-1.0.dist-info", "x.dist-info", ".dist-info"]
)
def test_dist_info_of_another(refusal: Refusal, where: str) -> None:
    """The .dist-info folder must have the name and version of the wheel, because pip looks for it."""
    assert "expected the .dist-info of hello-world 1.0" in refusal(
        WHEEL, make_zip({f"{where}/METADATA": BASE})
    )


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        pytest.param({"h-1/setup.py": b""}, "no PKG-INFO", id="none"),
        pytest.param({"h-1/x.egg-info/PKG-INFO": BASE}, "no PKG-INFO", id="only in egg-info"),
        pytest.param({"PKG-INFO": BASE}, "at its top", id="without a folder"),
        pytest.param({"h-1/PKG-INFO": BASE, "h-2/PKG-INFO": BASE}, "'h-1' and 'h-2'", id="two folders"),
        pytest.param({"h-1/PKG-INFO": BASE, "x": b""}, "at its top", id="a file beside the folder"),
        pytest.param({"h-1/PKG-INFO": BASE, "./h-1/PKG-INFO": BASE}, "twice", id="twice"),
        pytest.param({"h-1/PKG-INFO": BASE, "h-1/../../x": b""}, "inside", id="parent"),
        pytest.param({"h-1/PKG-INFO": BASE, "/h-1/x": b""}, "inside", id="absolute"),
        pytest.param({"h-1/PKG-INFO": b"Name: other\nVersion: 1.0\n"}, "that of other", id="another project"),
        pytest.param({"h-1/PKG-INFO": BASE.replace(b"1.0", b"2.0")}, "version 2.0", id="another version"),
        pytest.param(
            {"h-1/PKG-INFO": BASE + b"\n" + b"x" * METADATA_LIMIT}, str(METADATA_LIMIT), id="too large"
        ),
    ],
)
def test_sdist_refused(refusal: Refusal, ending: str, files: dict[str, bytes], sentence: str) -> None:
    """An sdist has one folder at its top, with its PKG-INFO directly in it."""
    content = make_zip(files) if ending == ".zip" else make_tar(files)
    assert sentence in refusal(f"hello_world-1.0{ending}", content)


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_other_pkg_info(read: Read, ending: str) -> None:
    """Another PKG-INFO in an sdist, which setuptools writes, is ignored."""
    files = {
        "./h-1/x.egg-info/PKG-INFO": b"Name: other\n",
        "./h-1/PKG-INFO": BASE,
        "h-1/PKG-INFO.txt": b"",
        "h-1/a/PKG-INFO": b"",
    }
    content = make_zip(files) if ending == ".zip" else make_tar(files)
    assert read(f"hello_world-1.0{ending}", content).text == BASE


@pytest.mark.parametrize("make", [make_wheel, make_sdist, partial(make_sdist, ending=".zip")])
def test_file_on_disk(make: Callable[[], tuple[str, bytes]]) -> None:
    """The file is read from its beginning, at whatever position it is, and stays open."""
    filename, content = make()
    with tempfile.TemporaryFile() as file:
        file.write(content)
        assert read_metadata(file, parse_filename(filename)).text == make_metadata()
        assert read_metadata(file, parse_filename(filename)).text == make_metadata()
        assert file.seek(0, io.SEEK_END) == len(content)


@given(names.map(lambda name: re.sub(r"[-_.]+", ".", name)), version_texts())
def test_builders_agree(name: str, version: str) -> None:
    """For any name and version, what build tools write is parsed."""
    for filename, content in (make_wheel(name, version), make_sdist(name, version)):
        found = read_metadata(io.BytesIO(content), parse_filename(filename))
        assert (found.name, found.version) == (ProjectName.parse(name), Version(version))


@given(st.binary(max_size=300))
def test_any_bytes(tail: bytes) -> None:
    """Any METADATA is parsed or refused."""
    try:
        found = read_metadata(io.BytesIO(make_wheel_of(BASE + tail)), parse_filename(WHEEL))
    except InvalidRequest:
        return
    assert found.text == BASE + tail


@given(st.text(max_size=30) | st.from_regex(r"\A(>=|<|~=|===)[ -~\s]{0,10}\Z"))
def test_requires_python_of_any_text(text: str) -> None:
    """The shown value is visible ASCII on one line."""
    found = shown_requires_python(text)
    assert found is None or (found.isascii() and found.isprintable() and "\n" not in found)
