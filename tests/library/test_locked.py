"""Lock files with hashes. Those in `locks` were written by uv 0.13, pip-tools 7.6, poetry 2.5 and pdm 2.28
against a package index on this machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from pyoci.errors import InvalidRequest
from pyoci.library.locked import PYPI, LockedVersion, index_url, read_lock_file

LOCKS = Path(__file__).parent / "locks"
INDEX = "http://127.0.0.1:4400/simple/"
CRUNCH = {
    "crunch-2.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": "bc31c7a2",
    "crunch-2.0-cp312-cp312-macosx_11_0_arm64.whl": "33dbb628",
    "crunch-2.0-cp312-cp312-musllinux_1_2_x86_64.whl": "f1a6a969",
    "crunch-2.0-cp312-cp312-win_amd64.whl": "61e4642c",
    "crunch-2.0.tar.gz": "82954ae4",
}
INDEXES = {
    "uv.lock": INDEX,
    "pylock.toml": INDEX,
    "poetry.lock": INDEX,
    "pdm.lock": None,
    "pdm-static-urls.lock": None,
    "uv-requirements.txt": INDEX,
    "pip-compile-requirements.txt": INDEX,
}


def write(folder: Path, text: str, name: str = "uv.lock") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def uv(*packages: str) -> str:
    return "version = 1\n" + "".join(f"[[package]]\n{package}\n" for package in packages)


@pytest.mark.parametrize("name", INDEXES)
class TestRecorded:
    def test_versions(self, name: str) -> None:
        """Their indexes too, except for pdm, which doesn't record them."""
        lock = read_lock_file(LOCKS / name)
        found = {each.project: (str(each.version), each.index) for each in lock.versions}
        index = INDEXES[name]
        assert found == {"crunch": ("2.0", index), "plain": ("1.0", index), "sunshine": ("3.1", index)}
        assert lock.indexes == ({index} if index else set())

    def test_hashes(self, name: str) -> None:
        """By file, or all those of a version in a requirements file."""
        [crunch] = (each for each in read_lock_file(LOCKS / name).versions if each.project == "crunch")
        if name.endswith(".txt"):
            assert crunch.files == ()
            assert {digest[:8] for _, digest in crunch.digests} == set(CRUNCH.values())
            assert {algorithm for algorithm, _ in crunch.digests} == {"sha256"}
        else:
            assert {each.filename: each.hashes["sha256"][:8] for each in crunch.files} == CRUNCH
            assert crunch.digests == frozenset()

    def test_packages_from_elsewhere(self, name: str) -> None:
        """A URL, which pip-compile's sample lacks. The project itself is a folder in uv.lock."""
        found = {(each.project, each.origin) for each in read_lock_file(LOCKS / name).elsewhere}
        assert found - {("app", "a folder")} == (
            set() if name.startswith("pip-compile") else {("direct", "a URL")}
        )


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Packages.example/simple", "https://packages.example/simple/"),
        ("https://me:secret@packages.example:443/simple/", "https://packages.example/simple/"),
        ("http://[::1]:8080/a/", "http://[::1]:8080/a/"),
        ("../wheels", None),
        ("https://x:y:z/", None),
        ("file:///wheels", None),
        (7, None),
    ],
)
def test_index_urls(text: object, url: str | None) -> None:
    """In one spelling, and without a password."""
    assert index_url(text) == url


def test_poetry_of_pypi(tmp_path: Path) -> None:
    """A package without a source comes from PyPI, whose URL the file doesn't have."""
    text = '[[package]]\nname = "a"\nversion = "1"\nfiles = []\n[metadata]\nlock-version = "2.1"\n'
    lock = read_lock_file(write(tmp_path, text, "poetry.lock"))
    assert lock.versions == (LockedVersion(project="a", version=Version("1"), index=PYPI),)
    assert lock.indexes == {PYPI}


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        ("-e ./folder", "a folder"),
        ("--editable=./folder", "a folder"),
        ("../folder", "a folder"),
        ("https://files.example/a-1.0-py3-none-any.whl", "a URL"),
        ("b @ https://files.example/b.zip --hash=sha256:00", "a URL"),
    ],
)
def test_requirements_from_elsewhere(tmp_path: Path, line: str, origin: str) -> None:
    path = write(tmp_path, f"a==1\n{line}\n--find-links x\n", "requirements.txt")
    [found] = read_lock_file(path).elsewhere
    assert found.origin == origin


def test_requirements_with_two_indexes(tmp_path: Path) -> None:
    """The file doesn't say which of them a requirement comes from."""
    text = "-i https://me:secret@a.example/simple\n--extra-index-url https://b.example/simple\nx==1\n"
    lock = read_lock_file(write(tmp_path, text, "requirements.txt"))
    assert lock.versions[0].index is None
    assert lock.indexes == {"https://a.example/simple/", "https://b.example/simple/"}


@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-url $PRIVATE_INDEX",
        "--extra-index-url ${PRIVATE_INDEX}/simple",
        "--extra-index-url=$PRIVATE_INDEX",
        "--extra-index-url 'https://b.example/simple'",
        "--extra-index-url https://b.example/simple --trusted-host b.example",
        "--extra https://b.example/simple",
        "-ihttps://b.example/simple",
    ],
)
def test_requirements_with_an_index_beside_the_first(tmp_path: Path, line: str) -> None:
    """The requirements may come from there, also if its URL can't be read: the first must not hear their
    names.
    """
    text = f"--index-url https://a.example/simple\n{line}\nx==1\n"
    lock = read_lock_file(write(tmp_path, text, "requirements.txt"))
    assert lock.versions[0].index is None


def test_requirements_with_a_quoted_index(tmp_path: Path) -> None:
    lock = read_lock_file(write(tmp_path, '-i "https://a.example/simple"\nx==1\n', "requirements.txt"))
    assert lock.versions[0].index == "https://a.example/simple/"


REGISTRY = 'source = { registry = "https://packages.example/simple" }'


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("uv.lock", "version = 2\n", "its version is '2'"),
        ("uv.lock", "version = 1\n", "pins no version"),
        ("uv.lock", "[[package", "it is no TOML"),
        ("uv.lock", f"version = {'9' * 5000}", "it is no TOML"),
        ("uv.lock", f"version = 1\nx = {'[' * 5000}", "it is no TOML"),
        ("uv.lock", "x = 1\n", "it is no lock file"),
        ("uv.lock", 'version = 1\npackage = "x"\n', "pins no version"),
        ("uv.lock", "version = 1\npackage = [7]\n", "its package 1 has no name"),
        ("uv.lock", f"version = 1\npackage = [{'7,' * 20_001}]\n", "it has 20001 packages"),
        ("requirements.txt", "a==1\n" * 20_001, "it has more than 20000 lines"),
        ("uv.lock", uv("name = 7"), "its package 1 has no name"),
        ("uv.lock", uv('name = "../x"', REGISTRY), "'../x'"),
        ("uv.lock", uv(f'name = "a"\n{REGISTRY}'), "its package 'a' has no version"),
        ("uv.lock", uv(f'name = "a"\nversion = "x"\n{REGISTRY}'), "its package 'a' has no version"),
        ("uv.lock", uv(f'name = "a"\nversion = "1"\nwheels = 7\n{REGISTRY}'), "wheels of a is no list"),
        ("uv.lock", uv(f'name = "a"\nversion = "1"\nwheels = [7]\n{REGISTRY}'), "a file of a has no usable"),
        (
            "uv.lock",
            uv(f'name = "a"\nversion = "1"\nsdist = {{ url = "https://x/..", hash = "" }}\n{REGISTRY}'),
            "a file of a has no usable name",
        ),
        (
            "uv.lock",
            uv(
                f'name = "a"\nversion = "1"\n{REGISTRY}\n'
                'sdist = { url = "https://x/a.zip", hash = "sha256:0" }'
            ),
            "the hash of a.zip can't be read",
        ),
        ("pylock.toml", 'lock-version = "2.0"\n', "its lock-version is '2.0'"),
        ("poetry.lock", '[metadata]\nlock-version = "1.1"\n', "its lock-version is '1.1'"),
        ("pdm.lock", '[metadata]\nlock_version = "3.0"\n', "its lock_version is '3.0'"),
        ("requirements.txt", "a>=1\n", "it has 'a>=1', which pins no version"),
        ("requirements.txt", "a==1.*\n", "it has 'a==1.*', which pins no version"),
        ("requirements.txt", "a==1,==2\n", "which pins no version"),
        ("requirements.txt", "what is this\n", "'what is this' is no requirement"),
        ("requirements.txt", "--no-index\n", "pins no version"),
        ("requirements.txt", "b @ https://me:secret@files.example/b.zip\n", "pins no version"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, reason: str) -> None:
    """Nothing is passed over: it would be missing where the packages are installed. One sentence says why."""
    with pytest.raises(InvalidRequest) as caught:
        read_lock_file(write(tmp_path, text, name))
    assert reason in caught.value.message
    assert "expected uv.lock of the version 1" in caught.value.message
    assert "secret" not in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500


def test_large_file(tmp_path: Path) -> None:
    path = write(tmp_path, "# " + "x" * 16 * 1024 * 1024)
    with pytest.raises(InvalidRequest, match="has more than 16777216 bytes"):
        read_lock_file(path)
