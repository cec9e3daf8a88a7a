"""`--audit FILE`: a line for each change of the command."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pyoci
from tests.builders import make_wheel
from tests.cli.conftest import Run, WriteFile
from tests.serving import served
from tests.upstreams import JSON

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WHEEL = "hello_world-1.0-py3-none-any.whl"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_change_has_a_line(index: str, run: Run, write: WriteFile, tmp_path: Path) -> None:
    """With what was changed, where, by whom and with what result, also of one that failed."""
    log = tmp_path / "audit.jsonl"
    audit = ("--audit", log)
    path = write(make_wheel())
    address = run("publish", index, path, *audit, "--json").document["index"]
    run("publish", index, write((WHEEL, b"no zip")), *audit)
    run("yank", index, "hello-world==1.0", "hello-world==9.0", "--reason", "broken", *audit)
    run("unyank", index, WHEEL, *audit)
    run("status", index, "hello-world", "archived", "--reason", "caf\u00e9", *audit)
    run("status", index, "other", "archived", *audit)
    run("status", index, "hello-world", *audit)
    run("delete", index, WHEEL, "--yes", *audit)
    lines = read(log)
    shown = [(line["action"], line.get("project"), line.get("file"), line["result"]) for line in lines]
    assert shown == [
        ("publish", "hello-world", WHEEL, "done"),
        ("publish", None, WHEEL, "InvalidRequest"),
        ("yank", "hello-world", "1.0", "done"),
        ("yank", "hello-world", "9.0", "NotFound"),
        ("unyank", "hello-world", WHEEL, "done"),
        ("status", "hello-world", None, "done"),
        ("status", "other", None, "NotFound"),
        ("delete", "hello-world", WHEEL, "done"),
    ]
    assert lines[5].items() >= {"status": "archived", "reason": "caf\u00e9"}.items()
    assert [len(each) for each in lines[0]["sha256"]] == [64]
    for line in lines:
        assert line.items() >= {"event": "audit", "index": address, "user": getpass.getuser()}.items()
        assert line["client"] == f"pyoci/{pyoci.__version__}"
    assert log.stat().st_mode & 0o777 == 0o600


def test_prune(server: str, run: Run, write: WriteFile, tmp_path: Path) -> None:
    """A line for each version, with the hashes of its files."""
    log, address = tmp_path / "audit.jsonl", f"{server}/acme"
    write(make_wheel())
    run("publish", address, write(make_wheel(version="2.0")).parent)
    prune = ("prune", address, "hello-world", "--keep", "1", "--audit", log)
    run(*prune, "--dry-run")
    assert read(log) == []
    assert run(*prune, "--yes").code == 0
    (line,) = read(log)
    assert (line["action"], line["file"], line["result"], len(line["sha256"])) == ("prune", "1.0", "done", 1)


@pytest.mark.parametrize("name", ["missing/audit.jsonl", ""])
def test_a_file_that_cannot_be_written(
    index: str, run: Run, write: WriteFile, tmp_path: Path, name: str
) -> None:
    """Nothing is changed then."""
    ran = run("publish", index, write(make_wheel()), "--audit", tmp_path / name)
    assert ran.code == 1
    assert str(tmp_path / name) in ran.stderr
    assert run("show", index, "hello-world").code == 4


def test_an_interrupted_change_is_not_done(tmp_path: Path) -> None:
    """Ctrl-C while the server works on it: nobody knows the result, so there is no line."""
    arrived, go_on = threading.Event(), threading.Event()

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "PATCH":
            arrived.set()
            go_on.wait(60)
        start_response("200 OK", [("Content-Type", JSON)])
        return [b'{"meta": {"api-version": "1.0"}, "projects": []}']

    log = tmp_path / "audit.jsonl"
    with served(application) as url:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pyoci",
                "status",
                f"{url}/acme/",
                "hello-world",
                "archived",
                "--audit",
                log,
            ],
            env={**os.environ, "DOCKER_CONFIG": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
            # A shell that starts the tests in the background has them ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert arrived.wait(60)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        go_on.set()
    assert (process.returncode, stderr.strip()) == (130, "interrupted")
    assert read(log) == []
