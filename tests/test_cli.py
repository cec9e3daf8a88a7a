"""The `pyoci` command, as a process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pyoci
from tests.registry import TestRegistry


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a minute's patience."""
    return subprocess.run(
        [sys.executable, "-c", "import sys; from pyoci.cli import main; sys.exit(main())", *arguments],
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
    """Never anything younger than an hour."""
    registry = TestRegistry(tmp_path / "pyoci-data")
    old, young = registry.put_blob(b"old"), registry.put_blob(b"young")
    registry.put("1.0", {"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []})
    (blob,) = (tmp_path / "pyoci-data").rglob(old.hex)
    hours_ago = time.time() - 7200
    os.utime(blob, (hours_ago, hours_ago))
    done = run("gc", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (
        0,
        "removed 0 manifests, 1 blobs, 0 unfinished uploads: 3 bytes\n",
    )
    assert list((tmp_path / "pyoci-data").rglob(young.hex))


def test_gc_of_nothing_says_so(tmp_path: Path) -> None:
    """A typing error should not look like a success."""
    done = run("gc", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no directory nowhere" in done.stderr


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
    sentence = f"PORT: {port} can't be used, another program listens there; expected a port that is free\n"
    assert done.stderr == sentence
