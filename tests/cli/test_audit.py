"""`--audit FILE`: a line for each change of the command."""

from __future__ import annotations

import getpass
import hashlib
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
from tests.upstreams import JSON, package_index

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


def shown(log: Path) -> list[tuple[Any, ...]]:
    """The lines, sorted, and the log is empty after that."""
    found = [
        (line["action"], line["project"], line.get("file") or line.get("tag"), line["result"])
        for line in read(log)
    ]
    log.write_text("")
    return sorted(found)


def test_import(server: str, run: Run, write: WriteFile, tmp_path: Path) -> None:
    """A line for each file that was fetched, or couldn't be stored; none for what is there already."""
    log, address, content = tmp_path / "audit.jsonl", f"{server}/acme", make_wheel()[1]
    run("publish", address, write(make_wheel("other")))
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in (make_wheel(), make_wheel("other", files={"x.py": b""}), ("bad-1.0.tar.gz", b"no")):
        (folder / name).write_bytes(data)
    assert run("import", address, folder, "--audit", log).code == 1
    line = next(line for line in read(log) if line["project"] == "hello-world")
    assert line["sha256"] == [hashlib.sha256(content).hexdigest()]
    assert (line["user"], line["client"]) == (getpass.getuser(), f"pyoci/{pyoci.__version__}")
    assert line["index"] == address
    assert shown(log) == [
        ("publish", "bad", "bad-1.0.tar.gz", "InvalidRequest"),
        ("publish", "hello-world", WHEEL, "done"),
        ("publish", "other", "other-1.0-py3-none-any.whl", "AlreadyExists"),
    ]
    run("import", address, folder, "--project", "hello-world", "--audit", log)
    assert read(log) == []


def test_mirror(server: str, run: Run, tmp_path: Path) -> None:
    """A line for each file that was copied, yanked since, or quarantined with its project."""
    log = tmp_path / "audit.jsonl"
    with package_index() as elsewhere:
        entry = elsewhere.add(*make_wheel())
        lock = tmp_path / "requirements.txt"
        lock.write_text(f"hello-world==1.0 --hash=sha256:{entry['hashes']['sha256']}\n")
        options = ("--source", elsewhere.simple, "--any-index", "--audit", log)
        mirror = ("mirror", f"{server}/acme", "--lock", lock, *options)
        assert run(*mirror).code == 0
        assert read(log)[0]["sha256"] == [entry["hashes"]["sha256"]]
        assert shown(log) == [("publish", "hello-world", WHEEL, "done")]
        run(*mirror)
        assert read(log) == []
        entry["yanked"] = "broken"
        run(*mirror)
        assert (read(log)[0]["reason"], read(log)[0]["sha256"]) == ("broken", [entry["hashes"]["sha256"]])
        assert shown(log) == [("yank", "hello-world", WHEEL, "done")]
        elsewhere.keys["project-status"] = {"status": "quarantined", "reason": "malware"}
        run(*mirror)
        assert read(log)[0].items() >= {"status": "quarantined", "reason": "malware"}.items()
        assert shown(log) == [("status", "hello-world", None, "done")]


def test_copy_and_repair(server: str, run: Run, write: WriteFile, tmp_path: Path) -> None:
    """A line for each tag that was copied, and for each repair."""
    log, address, backup = tmp_path / "audit.jsonl", f"{server}/acme", f"oci:{tmp_path / 'backup'}"
    name, content = make_wheel()
    run("publish", address, write((name, content)))
    assert run("copy", address, backup, "--audit", log).code == 0
    assert read(log)[0]["digest"].startswith("sha256:")
    assert shown(log) == [("copy", "hello-world", "1.0", "done")]
    run("copy", address, backup, "--audit", log)
    run("copy", address, backup, "absent", "--audit", log)
    assert shown(log) == [("copy", "absent", None, "failed")]
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / "registry" / "acme" / "hello_world" / "blobs" / "sha256" / sha256).unlink()
    check = ("check", address, "--audit", log)
    run(*check)
    assert read(log) == []
    run(*check, "--repair")
    assert shown(log) == [("repair", "hello-world", name, "left")]
    run(*check, "--repair", "--from", backup)
    assert read(log)[0]["sha256"] == [sha256]
    assert shown(log) == [("repair", "hello-world", name, "done")]


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
