"""What the command says when a login is refused: where the login came from, and how to store another."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from pyoci.app import create_app
from pyoci.config import Settings
from tests.builders import make_wheel
from tests.cli.conftest import Run, WriteFile
from tests.serving import served

SECRET = "planted-secret"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A server whose registry knows only alice."""
    passwords = tmp_path / "htpasswd"
    passwords.write_text(f"alice:{bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()}\n")
    settings = Settings.from_environ(
        {
            "PYOCI_EMBEDDED": str(tmp_path / "registry"),
            "PYOCI_EMBEDDED_HTPASSWD": str(passwords),
            "PYOCI_LOG": "off",
        }
    )
    with served(create_app(settings, sleep=lambda _: None)) as url:
        yield url.removeprefix("http://")


@pytest.fixture(params=["registry", "server"])
def guarded(request: pytest.FixtureRequest, host: str) -> str:
    return f"http://{host}/acme" if request.param == "registry" else f"http://{host}/local/acme/"


def refused(run: Run, *arguments: object) -> str:
    ran = run(*arguments)
    assert ran.code == 3
    assert SECRET not in ran.stdout + ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    return ran.stderr.strip()


def test_no_login(guarded: str, host: str, run: Run) -> None:
    said = refused(run, "show", guarded, "hello-world")
    assert said.endswith(f"; there is no login for {host}; `pyoci login {host}` stores one")


def test_environment(guarded: str, host: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes first, so a stored login wouldn't be used."""
    monkeypatch.setenv("PYOCI_USERNAME", "alice")
    monkeypatch.setenv("PYOCI_PASSWORD", SECRET)
    assert refused(run, "list", guarded, "hello-world").endswith(
        "; the login came from PYOCI_USERNAME and PYOCI_PASSWORD, which comes before what"
        f" `pyoci login {host}` stores"
    )


def test_source(guarded: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variables of the source are named, and not those of the index."""
    monkeypatch.setenv("PYOCI_SOURCE_USERNAME", "alice")
    monkeypatch.setenv("PYOCI_SOURCE_PASSWORD", SECRET)
    verb = ("copy", guarded) if guarded.endswith("acme") else ("import", f"oci:{tmp_path / 'x'}", guarded)
    ran = run(*verb, f"oci:{tmp_path / 'x'}", "hello-world") if verb[0] == "copy" else run(*verb)
    said = ran.stdout + ran.stderr
    assert "; the login came from PYOCI_SOURCE_USERNAME and PYOCI_SOURCE_PASSWORD, " in said
    assert SECRET not in ran.stdout + ran.stderr


def test_docker(guarded: str, host: str, run: Run, tmp_path: Path) -> None:
    file = tmp_path / ".docker" / "config.json"
    file.parent.mkdir()
    auth = base64.b64encode(f"alice:{SECRET}".encode()).decode()
    file.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    said = refused(run, "delete", guarded, "hello-world==1.0", "--yes")
    assert said.endswith(f"; the login came from {file}; `pyoci login {host}` stores another one")


def test_netrc(guarded: str, host: str, run: Run, tmp_path: Path) -> None:
    file = tmp_path / ".netrc"
    file.write_text(f"machine {host.partition(':')[0]} login alice password {SECRET}\n")
    file.chmod(0o600)
    said = refused(run, "show", guarded, "hello-world", "--netrc")
    assert said.endswith(f"; the login came from {file}; `pyoci login {host}` stores another one")


def test_published_files(guarded: str, host: str, run: Run, write: WriteFile) -> None:
    """The reason of each file has it, also in the document."""
    ran = run("publish", guarded, write(make_wheel()), "--json")
    assert ran.code == 3
    (failed,) = ran.document["failed"]
    assert failed["reason"].endswith(f"; there is no login for {host}; `pyoci login {host}` stores one")
