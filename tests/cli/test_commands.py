"""What all verbs share: the help, usage errors, exit codes, and one sentence an error."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from pyoci.cli.commands import VERBS, command
from pyoci.cli.verb import Verb
from pyoci.library import Anonymous, open_index
from tests.builders import make_wheel
from tests.cli.conftest import Run, WriteFile


def loaded(name: str) -> Verb:
    verb = command.get_command(click.Context(command), name)
    assert isinstance(verb, Verb)
    return verb


@pytest.mark.parametrize("name", VERBS)
class TestVerb:
    def test_its_help_begins_with_the_line_in_the_list(self, name: str) -> None:
        """The list is written down, so that it needs no verb's module."""
        verb = loaded(name)
        assert verb.name == name
        assert VERBS[name].endswith(".")
        assert verb.help

    def test_it_has_examples(self, name: str, run: Run) -> None:
        """Each begins with the command."""
        assert all(f"pyoci {name}" in example for example in loaded(name).examples)
        ran = run(name, "--help")
        assert ran.code == 0
        assert "Examples:" in ran.stdout
        assert loaded(name).examples[0] in ran.stdout

    def test_an_unknown_option_is_wrong_usage(self, name: str, run: Run) -> None:
        """One line, which names the verb's help."""
        ran = run(name, "--no-such-option")
        assert (ran.code, ran.stdout) == (2, "")
        assert len(ran.stderr.splitlines()) == 1
        assert f"see `pyoci {name} --help`" in ran.stderr


def test_the_help_lists_the_verbs(run: Run) -> None:
    """And what INDEX and the exit codes are."""
    ran = run("--help")
    assert ran.code == 0
    assert all(f"  {name} " in ran.stdout for name in VERBS)
    assert "Exit codes" in ran.stdout


def test_the_help_imports_no_verb() -> None:
    """It answers at once: neither the library nor Flask nor rich is loaded."""
    script = """
import json, sys
from pyoci.cli import main
assert main(["--help"]) == 0
heavy = {"flask", "requests", "rich", "packaging", "gunicorn", "opentelemetry"}
print(json.dumps([name for name in sys.modules if name in heavy or name.startswith("pyoci.")]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert set(json.loads(done.stdout.splitlines()[-1])) == {
        "pyoci.errors",
        "pyoci.cli",
        "pyoci.cli.commands",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        ([], 2, "Missing command"),
        (["publsh"], 2, "there is no verb 'publsh'; expected one of list,"),
        (["list"], 2, "INDEX"),
        (["list", "nowhere"], 2, "'nowhere' is not a package index"),
        (["show", "ghcr.io/acme", "a b"], 2, "'a b' is not a project name"),
        (["list", "ghcr.io/acme", "--username", "me"], 2, "--password-stdin"),
        (["list", "http://127.0.0.1:1/acme"], 1, "could not be reached"),
        (["list", "local/acme"], 4, "there is no embedded registry"),
    ],
)
def test_an_error_is_one_sentence(arguments: list[str], code: int, part: str, run: Run) -> None:
    """On stderr, with its exit code."""
    ran = run(*arguments)
    assert (ran.code, ran.stdout) == (code, "")
    assert part in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_reader_that_has_enough_is_no_error(server: str) -> None:
    """As with `head`: no traceback about a broken pipe."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [sys.executable, "-m", "pyoci", "list", f"{server}/acme", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (1, "")


def test_control_c_is_clean() -> None:
    """A word and the usual exit code, while a password is awaited."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pyoci", "list", "ghcr.io/acme", "--username", "me", "--password-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    # The process sleeps in read() once it waits for its stdin.
    while time.monotonic() < deadline and not _waits_for_stdin(process.pid):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr.strip()) == (130, "", "interrupted")


def _waits_for_stdin(pid: int) -> bool:
    with open(f"/proc/{pid}/wchan") as file:
        return "pipe" in file.read()


def test_a_password_is_read_from_stdin_and_never_shown(server: str) -> None:
    """Its line end is no part of it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pyoci", "list", f"{server}/local/acme"),
            *("--username", "me", "--password-stdin"),
        ],
        input="secret-word\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "secret-word" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "part"),
    [(b"\xff\n", "expected UTF-8"), (b"", "found nothing on stdin"), (None, "found nothing")],
)
def test_a_password_that_cannot_be_read_is_wrong_usage(given: bytes | None, part: str) -> None:
    """None: stdin is closed."""
    command = f"{sys.executable} -m pyoci list ghcr.io/acme --username me --password-stdin"
    done = subprocess.run(
        ["sh", "-c", command if given is not None else f"{command} <&-"],
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert part in done.stderr.decode()


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [
        ("<&-", "delete {server}/acme hello-world==1.0", 2),
        ("<&-", "prune {server}/acme --keep 0 ", 2),
        (">&-", "list {server}/acme", 0),
    ],
)
def test_closed_streams_are_no_defect(
    server: str, closed: str, arguments: str, code: int, write: WriteFile
) -> None:
    """Some programs start others without stdin or stdout."""
    for version in ("1.0", "2.0"):
        path = write(make_wheel(version=version))
        with open_index(f"{server}/acme", Anonymous(), environ={}) as index:
            index.publish(path)
    command = f"{sys.executable} -m pyoci {arguments.format(server=server)} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "defect" in done.stderr) == (code, False)


@pytest.mark.parametrize(
    "arguments", ["delete {server}/acme hello-world==1.0", "prune {server}/acme --keep 0"]
)
def test_no_is_an_answer(server: str, arguments: str, write: WriteFile) -> None:
    """On a terminal: nothing is deleted, and nothing was interrupted."""
    with open_index(f"{server}/acme", Anonymous(), environ={}) as index:
        for version in ("1.0", "2.0"):
            index.publish(write(make_wheel(version=version)))
        ours, its = pty.openpty()
        os.write(ours, b"n\n")
        command = [sys.executable, "-m", "pyoci", *arguments.format(server=server).split()]
        done = subprocess.run(command, stdin=its, capture_output=True, text=True, timeout=60, check=False)
        os.close(ours)
        os.close(its)
        assert done.returncode == 1
        assert done.stderr.endswith("[y/N]: nothing was deleted\n")
        assert len(index.project("hello-world").files) == 2


def test_text_that_is_not_unicode(server: str, tmp_path: Path) -> None:
    """Linux allows any bytes in the name of a file."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/hello\xff.whl")
    open(path, "wb").close()
    done = subprocess.run(
        [sys.executable, "-m", "pyoci", "publish", f"{server}/acme", path, "--json"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["failed"][0]["path"].endswith("hello?.whl")


def test_a_pipe_is_no_wheel(run: Run, server: str, tmp_path: Path) -> None:
    """It isn't read: it may never end."""
    path = tmp_path / "hello_world-1.0-py3-none-any.whl"
    os.mkfifo(path)
    ran = run("publish", f"{server}/acme", path)
    assert ran.code == 1
    assert "is not a regular file; expected a wheel or an sdist" in ran.stderr


def test_control_characters_of_an_error_are_replaced(run: Run) -> None:
    """A terminal would obey them."""
    ran = run("check", "ghcr.io/acme", "--repair", "--from", "oci:\x1b]0;title\x07")
    assert ran.code == 4
    assert "\x1b" not in ran.stderr
    assert "there is no folder" in ran.stderr


def test_completion(run: Run) -> None:
    """The shell's script comes from the command, and completes the verbs."""
    environ = {**os.environ, "_PYOCI_COMPLETE": "bash_complete", "COMP_WORDS": "pyoci s", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from pyoci.cli import main; main()"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    completed = {line.partition(",")[2] for line in done.stdout.splitlines()}
    assert completed == {name for name in VERBS if name.startswith("s")}
