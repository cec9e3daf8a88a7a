"""The `pyoci` command, as a process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pyoci
from pyoci.cli.verbs.serve import _welcome
from pyoci.config import Settings
from tests.registry import TestRegistry


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a minute's patience."""
    return subprocess.run(
        [sys.executable, "-m", "pyoci", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(pyoci.__file__).parent.parent), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version(tmp_path: Path) -> None:
    """The one that the server sends as its User-Agent."""
    assert run("--version", cwd=tmp_path).stdout == f"pyoci {pyoci.__version__}\n"


@pytest.mark.parametrize("verb", ["serve", "gc"])
def test_wrong_settings_stop_every_verb(tmp_path: Path, verb: str) -> None:
    """With all mistakes and no traceback."""
    done = run(verb, cwd=tmp_path, PORT="x", PYOCI_MAX_BODY="y")
    assert done.returncode != 0
    assert "PORT" in done.stderr
    assert "PYOCI_MAX_BODY" in done.stderr
    assert "Traceback" not in done.stderr


def test_gc_removes_what_nothing_refers_to(tmp_path: Path) -> None:
    """Never anything younger than an hour. --audit has a line for what was removed."""
    registry = TestRegistry(tmp_path / "pyoci-data")
    old, young = registry.put_blob(b"old"), registry.put_blob(b"young")
    document = {"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
    lone = registry.put("1.0", document | {"annotations": {"replaced": "yes"}}).digest
    registry.put("1.0", document)
    hours_ago = time.time() - 7200
    for each in (old, lone):
        (blob,) = (tmp_path / "pyoci-data").rglob(each.hex)
        os.utime(blob, (hours_ago, hours_ago))
    done = run("gc", "--audit", "audit.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("removed 1 manifest, 2 blobs, 0 unfinished uploads: ")
    assert list((tmp_path / "pyoci-data").rglob(young.hex))
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert {(line["kind"], line["digest"]) for line in lines} == {
        ("blob", str(old)),
        ("blob", str(lone)),
        ("manifest", str(lone)),
    }
    expected = {"action": "gc", "index": "pyoci-data", "repository": "acme/hello_world", "result": "done"}
    assert all(line.items() >= expected.items() for line in lines)


def test_gc_of_nothing_says_so(tmp_path: Path) -> None:
    """A typing error should not look like a success."""
    done = run("gc", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no directory nowhere; expected that of the embedded registry" in done.stderr


def test_passwords_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    """Line by line, without showing what stands there."""
    passwords = tmp_path / "htpasswd"
    passwords.write_text("me:plaintext-secret\n")
    done = run("serve", cwd=tmp_path, PYOCI_EMBEDDED_HTPASSWD=str(passwords), PORT="0")
    assert done.returncode != 0
    done = run("serve", cwd=tmp_path, PYOCI_EMBEDDED_HTPASSWD=str(passwords), PORT="18999")
    assert done.returncode != 0
    assert "PYOCI_EMBEDDED_HTPASSWD" in done.stderr
    assert "plaintext-secret" not in done.stderr + done.stdout


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path, address: str) -> None:
    """Before anything is printed that can be pasted, and without gunicorn's five attempts."""
    with socket.create_server((address, 0)) as other:
        port = other.getsockname()[1]
        done = run("serve", cwd=tmp_path, PORT=str(port))
    assert (done.returncode, done.stdout) == (2, "")
    sentence = f"PORT: {port} can't be used: another program is listening on it; expected a free port\n"
    assert done.stderr == sentence


def test_without_passwords_any_name_fits() -> None:
    """The printed commands can be pasted as they are."""
    lines = _welcome(Settings.from_environ({"PYOCI_EMBEDDED": "pyoci-data"})).splitlines()
    assert "  Install         pip install --index-url http://localhost:8080/local/main/ PACKAGE" in lines
    publish = "twine upload --repository-url http://localhost:8080/local/main/ -u me -p open dist/*"
    assert f"  Publish         {publish}" in lines
    assert "  Available       what you publish; PYOCI_UPSTREAM_INDEX adds PyPI's packages" in lines


def test_with_passwords_each_command_has_a_place_for_one(tmp_path: Path) -> None:
    """Reading needs a password, too; `me` and `open` would be refused."""
    (tmp_path / "htpasswd").touch()
    environ = {"PYOCI_EMBEDDED": "pyoci-data", "PYOCI_EMBEDDED_HTPASSWD": str(tmp_path / "htpasswd")}
    text = _welcome(Settings.from_environ(environ))
    assert text.count(" -u USER -p PASSWORD dist/*") == 2
    assert text.count("http://USER:PASSWORD@localhost:8080/local/main/ PACKAGE") == 2
    assert f"USER and PASSWORD stand for an account from {tmp_path / 'htpasswd'}" in text
    assert "-p open" not in text


def test_the_upstream_index_is_named_without_its_password() -> None:
    """Where PYOCI_UPSTREAM_INDEX is set, it isn't recommended."""
    upstream = "https://me:secret-word@packages.example/simple/"
    text = _welcome(Settings.from_environ({"PYOCI_UPSTREAM_INDEX": upstream}))
    assert "what you publish, and the packages of https://packages.example/simple/\n" in text
    assert "PYOCI_UPSTREAM_INDEX" not in text
    assert "secret-word" not in text
