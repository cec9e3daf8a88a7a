"""Log lines: levels, format, and what they never contain."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import run_wsgi_app

from pyoci.telemetry.logs import Log
from pyoci.telemetry.requests import RequestLog
from tests.waiting import until

PATIENCE = 60.0  # seconds


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


LEVELS = [
    ("info", {}, "web", "info", True),
    ("info", {}, "web", "debug", False),
    ("off", {}, "web", "error", False),
    ("info", {"oci": "debug"}, "oci", "debug", True),
    ("info", {"oci": "debug"}, "oci.auth", "debug", True),
    ("info", {"oci": "debug"}, "store", "debug", False),
    ("info", {"oci": "off"}, "oci.auth", "error", False),
    ("info", {"": "error"}, "web", "warning", False),
]


@pytest.mark.parametrize(("default", "rooms", "room", "level", "heard"), LEVELS)
def test_room_has_its_level(default: str, rooms: dict[str, str], room: str, level: str, heard: bool) -> None:
    """By its own name, the nearest package above, or the default."""
    stream = io.StringIO()
    Log(default, rooms, stream).write("something", room=room, level=level)
    assert bool(stream.getvalue()) == heard


def test_a_line_is_json_for_machines() -> None:
    """One object a line, whatever the facts hold; facts that are None are left out."""
    stream = io.StringIO()
    Log(stream=stream).write("an\nevent", room="web", path="/\u2028ü\n", nothing=None)
    (line,) = read(stream)
    assert (line["event"], line["room"], line["level"]) == ("an\nevent", "pyoci.web", "info")
    assert line["path"] == "/\u2028ü\n"
    assert "nothing" not in line
    assert line["timestamp"].endswith("Z")


def test_the_fields_of_a_line_have_an_order() -> None:
    """People read them, too: the facts of the line come after its level and before the event's name."""
    stream = io.StringIO()
    Log(stream=stream).write("request", room="web", level="error", status=503, path="/ü/")
    line, end = stream.getvalue().rsplit(', "timestamp": "', 1)
    facts = '"status": 503, "path": "/\\u00fc/"'
    assert line == f'{{"level": "error", "room": "pyoci.web", {facts}, "event": "request"'
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"}\n', end)


class Pipe(io.StringIO):
    """A stream whose first write lasts until it `may_go_on`. Keeps what each write got."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.is_writing, self.may_go_on = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.writes.append(text)
        self.is_writing.set()
        assert self.may_go_on.wait(PATIENCE)
        return super().write(text)


@pytest.fixture
def writing() -> Iterator[tuple[Pipe, Log]]:
    """A thread that writes the line `0`, and its log."""
    pipe = Pipe()
    log = Log(stream=pipe)
    thread = threading.Thread(target=log.write, args=("0",), kwargs={"room": "web"})
    thread.start()
    try:
        assert pipe.is_writing.wait(PATIENCE)
        yield pipe, log
    finally:
        pipe.may_go_on.set()
        thread.join(PATIENCE)


def test_threads_do_not_wait_for_another_one_that_writes(writing: tuple[Pipe, Log]) -> None:
    """It writes their lines, in their order, as many at once as a pipe takes as a whole."""
    pipe, log = writing
    for number in range(1, 100):
        log.write(str(number), room="web")
    assert len(pipe.writes) == 1
    pipe.may_go_on.set()
    until(lambda: len(read(pipe)) == 100, "the lines are written")
    assert [line["event"] for line in read(pipe)] == [str(number) for number in range(100)]
    assert max(map(len, pipe.writes)) <= 4096
    assert len(pipe.writes) < 10


def test_threads_wait_when_a_thousand_lines_do(writing: tuple[Pipe, Log]) -> None:
    """Nobody reads the pipe, and memory is limited."""
    pipe, log = writing
    for number in range(1, 1001):
        log.write(str(number), room="web")
    another = threading.Thread(target=log.write, args=("1001",), kwargs={"room": "web"})
    another.start()
    another.join(0.1)
    assert another.is_alive()
    pipe.may_go_on.set()
    another.join(PATIENCE)
    until(lambda: len(read(pipe)) == 1002, "the lines are written")


def test_a_server_without_a_terminal_loads_no_colours() -> None:
    """They would take a fifth of its start, and memory in each worker."""
    script = """
import sys
from pyoci.telemetry.logs import Log
from pyoci.server import application
application()
Log().write("started", room="server")
colours = {"structlog", "rich", "pygments", "asyncio"}
print(sorted(colours & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
    assert json.loads(done.stderr)["event"] == "started"


def test_a_line_is_coloured_on_a_terminal() -> None:
    """For a developer who runs `make serve`."""
    stream = Terminal()
    Log(stream=stream).write("request", room="web", status=200)
    assert "\x1b[" in stream.getvalue()
    assert "request" in stream.getvalue()


@pytest.mark.parametrize(
    "path",
    [
        "/https://me:secret@ghcr.io/acme/",
        "/me:secret@ghcr.io/acme/",
        "/http:/me:secret@host/",
        "//u:secret@h/",
    ],
)
def test_user_info_is_masked(path: str) -> None:
    """Users may put a password into a URL, which is then logged as a path."""
    stream = io.StringIO()
    Log(stream=stream).write("request", room="web", path=path)
    assert "secret" not in stream.getvalue()


def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["pyoci.caller"] = "0123456789abcdef"
    start_response("201 Created", [])
    return [b"one", b"two"]


def make_environ(**overrides: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/x/", **overrides}


@pytest.mark.parametrize(
    ("status", "level"),
    [(200, "info"), (404, "info"), (429, "warning"), (500, "error"), (503, "error"), (504, "error")],
)
def test_the_level_of_a_request(status: int, level: str) -> None:
    """Failures of PyOCI or a registry are errors."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(f"{status} x", [])
        return []

    stream = io.StringIO()
    pieces, _, _ = run_wsgi_app(RequestLog(application, Log(stream=stream)), make_environ())
    pieces.close()  # type: ignore[attr-defined]  # werkzeug's own iterator has it
    (line,) = read(stream)
    assert line["level"] == level


class TestRequestLine:
    """It is written when the server closes the answer, for whatever reason."""

    def run(self, application: Any, stream: io.StringIO, take: int) -> None:
        times = iter((1.0, 3.5))
        middleware = RequestLog(application, Log(stream=stream), lambda: next(times))
        pieces, _, _ = run_wsgi_app(middleware, make_environ())
        for _ in zip(range(take), pieces, strict=False):
            pass
        pieces.close()  # type: ignore[attr-defined]  # werkzeug's own iterator has it

    def test_has_what_was_sent(self) -> None:
        """Status, bytes and duration."""
        stream = io.StringIO()
        self.run(answer, stream, 9)
        (line,) = read(stream)
        assert (line["status"], line["bytes"], line["duration"]) == (201, 6, 2.5)
        assert "complete" not in line
        assert "secret" not in stream.getvalue()

    def test_has_that_the_client_disconnected(self) -> None:
        """After one piece of two."""
        stream = io.StringIO()
        self.run(answer, stream, 1)
        (line,) = read(stream)
        assert (line["bytes"], line["complete"]) == (3, False)

    def test_has_a_failure_of_the_application(self) -> None:
        """The exception is raised to the server."""

        def fail(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            raise LookupError

        stream = io.StringIO()
        with pytest.raises(LookupError):
            self.run(fail, stream, 0)
        (line,) = read(stream)
        assert (line["status"], line["complete"]) == (500, False)

    def test_closes_what_it_wraps(self) -> None:
        """A download releases its connection."""
        closed: list[bool] = []

        class Body(list[bytes]):
            def close(self) -> None:
                closed.append(True)

        def download(environ: dict[str, Any], start_response: Any) -> Body:
            start_response("200 OK", [])
            return Body([b"x"])

        self.run(download, io.StringIO(), 0)
        assert closed == [True]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("/a\x1b[2J", id="escape"),
        pytest.param("/a\x9b2J", id="one byte for it"),
        pytest.param("/a\u202egnp.exe", id="right to left"),
        pytest.param("/a\r\nrequest", id="lines"),
        pytest.param("/a\x00\x07\x08", id="controls"),
        pytest.param("/a\ud800", id="half a pair"),
    ],
)
@pytest.mark.parametrize("kind", [io.StringIO, Terminal], ids=["machine", "terminal"])
def test_control_characters_are_escaped(kind: type[io.StringIO], text: str) -> None:
    """Control and direction characters in foreign text."""
    stream = kind()
    Log(stream=stream).write("request", room="web", path=text)
    (line,) = stream.getvalue().splitlines()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", line)  # our own colours
    assert plain.isprintable()
    assert "/a" in plain
