"""`pyoci config`: the lines of each client, printed or added to its files."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

URL = "https://pypi.example.com/ghcr.io/acme/"
UV = {
    "name": "acme",
    "url": URL,
    "publish-url": URL,
    "authenticate": "always",
    "default": True,
}


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """poetry's sources are those of the project in the current directory."""
    for name in ("PIP_CONFIG_FILE", "UV_CONFIG_FILE", "POETRY_CONFIG_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text('[project]\nname = "hello"  # mine\n')
    monkeypatch.chdir(tmp_path / "project")


def ini(path: Path) -> dict[str, dict[str, str]]:
    parser = RawConfigParser()
    parser.read_string(path.read_text())
    return {name: dict(parser.items(name)) for name in parser.sections()}


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


@pytest.mark.parametrize("client", ["pip", "uv", "poetry", "twine"])
def test_lines_are_printed_and_nothing_is_written(run: Run, tmp_path: Path, client: str) -> None:
    """stdout has the lines alone, to be redirected into a file."""
    before = sorted(tmp_path.rglob("*"))
    done = run("config", client, URL)
    assert done.code == 0
    assert URL in done.stdout
    assert str(tmp_path) not in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("client", ["pip", "uv", "poetry", "twine"])
def test_writing_twice_is_writing_once(run: Run, client: str) -> None:
    """The second time there is nothing to add."""
    first = run("config", client, URL, "--write", "--json").document
    texts = [Path(each["path"]).read_text() for each in first["files"]]
    second = run("config", client, URL.rstrip("/"), "--write", "--json").document
    assert [each["written"] for each in first["files"]] == [True] * len(texts)
    assert [each["written"] for each in second["files"]] == [False] * len(texts)
    assert [Path(each["path"]).read_text() for each in second["files"]] == texts


def test_pip(run: Run, tmp_path: Path) -> None:
    """Lines go into the section that is there; comments and the rest stay."""
    file = tmp_path / ".config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True)
    file.write_text("# mine\n[global]  ; all of them\ntimeout = 60\n\n[install]\nno-compile = true\n")
    file.chmod(0o644)
    assert run("config", "pip", URL, "--write").code == 0
    assert file.read_text() == (
        f"# mine\n[global]  ; all of them\nindex-url = {URL}\nkeyring-provider = subprocess\ntimeout = 60\n\n"
        "[install]\nno-compile = true\n"
    )
    assert file.stat().st_mode & 0o777 == 0o644


def test_what_pip_reads(run: Run, tmp_path: Path) -> None:
    """pip itself finds the settings."""
    run("config", "pip", URL, "--write")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={"HOME": str(tmp_path), "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert f"global.index-url='{URL}'" in done.stdout
    assert "global.keyring-provider='subprocess'" in done.stdout


def test_uv(run: Run, tmp_path: Path) -> None:
    """The setting goes before the tables that are there, the index after them."""
    file = tmp_path / ".config" / "uv" / "uv.toml"
    file.parent.mkdir(parents=True)
    other = {"name": "other", "url": "https://other.example/simple/"}
    file.write_text('[[index]]  # mine\nname = "other"\nurl = "https://other.example/simple/"')
    assert run("config", "uv", URL, "--write").code == 0
    assert toml(file) == {"keyring-provider": "subprocess", "index": [other, UV]}
    assert "# mine" in file.read_text()


def test_poetry(run: Run, tmp_path: Path) -> None:
    """The source is the project's, the repository for publishing the user's."""
    assert run("config", "poetry", URL, "--write").code == 0
    project = tmp_path / "project" / "pyproject.toml"
    source = {"name": "acme", "url": URL, "priority": "primary"}
    assert toml(project) == {"project": {"name": "hello"}, "tool": {"poetry": {"source": [source]}}}
    assert "# mine" in project.read_text()
    own = tmp_path / ".config" / "pypoetry" / "config.toml"
    assert toml(own) == {"repositories": {"acme": {"url": URL}}}
    project.unlink()
    missing = run("config", "poetry", URL, "--write")
    assert missing.code == 4
    assert "expected the folder of a project" in missing.stderr


@pytest.mark.parametrize(
    ("before", "listed"),
    [
        ("", ["acme"]),
        ("[pypi]\nusername = me\n", ["pypi", "acme"]),
        ("[distutils]\nindex-servers =\n    other\n    pypi\n", ["acme", "other", "pypi"]),
        ("[distutils]\nindex-servers = other pypi\n", ["acme", "other", "pypi"]),
        ("[distutils]\nindex-servers = acme\n", ["acme"]),
        ("[distutils]\nverbose = 1\n", ["acme"]),
    ],
)
def test_twine(run: Run, tmp_path: Path, before: str, listed: list[str]) -> None:
    """The servers that were listed, or known without a list, stay so."""
    file = tmp_path / ".pypirc"
    file.write_text(before)
    assert run("config", "twine", URL, "--write").code == 0
    known = ini(file)
    assert known["distutils"]["index-servers"].split() == listed
    assert known["acme"] == {"repository": URL}
    assert ("pypi" in known) == ("[pypi]" in before)


@pytest.mark.parametrize(
    ("client", "path", "text"),
    [
        ("pip", ".config/pip/pip.conf", "[global]\nindex_url = https://me:hunter2@other.example/\n"),
        ("pip", ".config/pip/pip.conf", "[global]\nkeyring-provider = disabled\n"),
        ("pip", ".config/pip/pip.conf", "no section\n"),
        ("uv", ".config/uv/uv.toml", '[[index]]\nname = "acme"\nurl = "https://me:hunter2@other.example/"\n'),
        ("uv", ".config/uv/uv.toml", '[[index]]\nurl = "https://other.example/"\ndefault = true\n'),
        ("uv", ".config/uv/uv.toml", 'index = [{url = "https://other.example/"}]\n'),
        ("uv", ".config/uv/uv.toml", 'keyring-provider = "disabled"\n'),
        ("uv", ".config/uv/uv.toml", "keyring-provider = \n"),
        ("poetry", ".config/pypoetry/config.toml", '[repositories.acme]\nurl = "https://other.example/"\n'),
        ("twine", ".pypirc", "[acme]\nrepository = https://other.example/\npassword = hunter2\n"),
        ("twine", ".pypirc", "\xff"),
    ],
)
def test_what_is_there_is_never_destroyed(
    run: Run, tmp_path: Path, client: str, path: str, text: str
) -> None:
    """Another value, and a file that can't be read, are left with a sentence that names the file."""
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode("latin-1"))
    project = (tmp_path / "project" / "pyproject.toml").read_text()
    done = run("config", client, URL, "--write")
    assert done.code in {1, 2}
    assert str(file) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr
    assert file.read_bytes() == text.encode("latin-1")
    assert (tmp_path / "project" / "pyproject.toml").read_text() == project


@pytest.mark.parametrize(
    ("url", "options", "part"),
    [
        ("ghcr.io/acme", (), "expected the URL of a PyOCI server"),
        ("https://me:hunter2@pypi.example.com/ghcr.io/acme/", (), "has an @"),
        ("https://pypi.example.com/", (), "is not the URL of an index"),
        ("https://pypi.example.com/acme/\nx = 1", (), "is not the URL of an index"),
        ('https://pypi.example.com/ac"me/', (), "is not the URL of an index"),
        ("https://[::1/acme/", (), "is not the URL of an index"),
        (URL, ("--name", "a]\nb"), "is not a name"),
    ],
)
def test_bad_input_gets_a_sentence(run: Run, url: str, options: tuple[str, ...], part: str) -> None:
    """Nothing that would be more than a value reaches a file."""
    done = run("config", "uv", url, *options)
    assert done.code == 2
    assert part in done.stderr
    assert "hunter2" not in done.stderr


def test_a_password_beside_the_lines_stays(run: Run, tmp_path: Path) -> None:
    """A section of ~/.pypirc that has its user and password is the same server."""
    file = tmp_path / ".pypirc"
    file.write_text(f"[distutils]\nindex-servers = acme\n[acme]\nrepository = {URL}\nusername = me\n")
    before = file.read_text()
    assert "had the lines already" in run("config", "twine", URL, "--write").stdout
    assert file.read_text() == before
