"""Errors as HTTP answers."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import ServiceUnavailable

from pyoci import errors
from pyoci.events import Events
from pyoci.oci.credentials import Credentials
from pyoci.web.addresses import NoRegistry
from pyoci.web.errors import MESSAGE_LIMIT, STATUS, WithoutMemory, one_line, status_of
from tests.web.conftest import LoggedEvents, MakeApp
from tests.web.doubles import MemoryStore

PAGE = "/ghcr.io/acme/hello-world/"
KINDS = {
    errors.InvalidRequest: 400,
    errors.NotAcceptable: 406,
    errors.UnsupportedCoding: 415,
    errors.RangeNotSatisfiable: 416,
    errors.BodyTimeout: 408,
    errors.Unauthorized: 401,
    errors.Denied: 403,
    errors.NotFound: 404,
    errors.NotSupported: 405,
    errors.Withdrawn: 410,
    errors.AlreadyExists: 409,
    errors.TooLarge: 413,
    errors.RateLimited: 429,
    errors.Exhausted: 503,
    errors.Busy: 503,
    errors.ProtocolError: 502,
    errors.Unreachable: 504,
    errors.Unavailable: 503,
}


def make_error(kind: type[errors.PyOCIError], message: str = "that went wrong") -> errors.PyOCIError:
    return kind(message, 10) if kind is errors.RangeNotSatisfiable else kind(message)


@pytest.mark.parametrize(
    ("kind", "status"), KINDS.items(), ids=lambda value: getattr(value, "__name__", None)
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_kinds(
    client: FlaskClient, store: MemoryStore, method: str, kind: type[errors.PyOCIError], status: int
) -> None:
    """Each kind has its status. The sentence is in the body and in the reason phrase. The answer isn't
    cached.
    """
    store.failure = make_error(kind)
    path = PAGE if method != "DELETE" else f"{PAGE}1.0"
    answer = client.open(path, method=method)
    assert answer.status == f"{status} that went wrong"
    assert answer.text == ("" if method == "HEAD" else "that went wrong")
    assert answer.headers["Content-Length"] == str(len("that went wrong"))
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)


def test_every_kind_has_a_status() -> None:
    """Kinds of other packages have the status of their base class."""

    def descendants(kind: type[errors.PyOCIError]) -> set[type[errors.PyOCIError]]:
        return {kind}.union(*(descendants(child) for child in kind.__subclasses__()))

    named = {kind for kind in descendants(errors.PyOCIError) if kind.__module__ == "pyoci.errors"}
    assert named - {errors.PyOCIError} == set(STATUS)
    assert status_of(NoRegistry) == 404


def test_unavailable_is_a_503(client: FlaskClient, store: MemoryStore) -> None:
    """pip repeats a request five times after a 503, and never after a 504."""
    store.failure = errors.Unavailable("ghcr.io could not be reached")
    assert client.get(PAGE).headers["Retry-After"] == "1"
    store.failure = errors.Unreachable("ghcr.io did not answer in time")
    assert "Retry-After" not in client.get(PAGE).headers


def test_401_has_a_challenge(client: FlaskClient, store: MemoryStore) -> None:
    """Clients need it to send credentials."""
    store.password = "secret"
    for authorization in (None, "Basic dTp3cm9uZw==", "Basic rubbish", "Digest x"):
        answer = client.get(PAGE, headers={"Authorization": authorization} if authorization else {})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="pyoci"')


class CallersStore(MemoryStore):
    """Records who calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.callers: list[str | None] = []

    def _asked(self, call: str, caller: Credentials, *arguments: Any) -> None:
        self.callers.append(caller.header())
        super()._asked(call, caller, *arguments)


def test_bearer_username(make_app: MakeApp) -> None:
    """The password of that user is a Bearer token."""
    store = CallersStore()
    app = make_app(store=store, bearer_username="token")
    app.test_client().get(PAGE, auth=("token", "abc"))
    assert set(store.callers) == {"Bearer abc"}


@pytest.mark.parametrize(("seconds", "header"), [(7, "7"), (0, "0"), (-3, "0"), (None, None)])
def test_429_has_retry_after(
    client: FlaskClient, store: MemoryStore, seconds: int | None, header: str | None
) -> None:
    """In seconds, because a date crashes poetry."""
    store.failure = errors.RateLimited("the registry asks to wait", seconds)
    answer = client.get(PAGE)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (429, header)


def test_defects(client: FlaskClient, store: MemoryStore, logged: LoggedEvents) -> None:
    """The log gets a defect's traceback; the caller gets one sentence."""
    store.failure = RuntimeError("secret at 10.0.0.5")
    answer = client.get(PAGE)
    assert answer.status_code == 500
    assert answer.text == "PyOCI failed to handle this request; its log has the details"
    (line,) = logged
    assert (line["level"], line["error"]) == ("error", "RuntimeError")
    assert "doubles.py" in line["trace"][-1]
    assert "secret" not in str(line)


def test_defects_while_testing(app: Flask, store: MemoryStore) -> None:
    """Flask's debug switches don't change the answers."""
    app.testing = True
    store.failure = RuntimeError("secret")
    assert app.test_client().get(PAGE).status_code == 500


@pytest.mark.parametrize(
    ("message", "line"),
    [
        pytest.param("a\r\nSet-Cookie: b", "a Set-Cookie: b", id="CRLF"),
        pytest.param("a\x00b\x7fc\x9fd\xa0e", "a b c d e", id="controls"),
        pytest.param("na\u00efve \u2603", "na\u00efve ?", id="not Latin-1"),
        pytest.param("  a  b ", "a b", id="blanks"),
        pytest.param("x" * 2000, "x" * (MESSAGE_LIMIT - 3) + "...", id="long"),
    ],
)
def test_messages_are_one_line(client: FlaskClient, store: MemoryStore, message: str, line: str) -> None:
    """A message becomes one line of Latin-1, and can't add a header."""
    store.failure = errors.ProtocolError(message)
    answer = client.get(PAGE)
    assert (answer.status, answer.text) == (f"502 {line}", line)
    assert "Set-Cookie" not in answer.headers


@given(st.text())
def test_any_message(message: str) -> None:
    """No message breaks the status line, and cleaning it twice changes nothing."""
    line = one_line(message)
    assert len(line) <= MESSAGE_LIMIT
    assert line.isprintable()
    assert line == line.encode("latin-1").decode("latin-1")
    assert one_line(line) == line


def test_empty_message(client: FlaskClient, store: MemoryStore) -> None:
    """The status has no text then."""
    store.failure = errors.ProtocolError("")
    assert client.get(PAGE).status_code == 502


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        pytest.param("PUT", PAGE, {"GET", "HEAD", "POST", "PATCH"}, id="page"),
        pytest.param("OPTIONS", PAGE, {"GET", "HEAD", "POST", "PATCH"}, id="OPTIONS"),
        pytest.param("BREW", PAGE, {"GET", "HEAD", "POST", "PATCH"}, id="a method that nobody knows"),
        pytest.param("PUT", f"{PAGE}1.0", {"GET", "HEAD", "POST", "PATCH", "DELETE"}, id="version"),
        pytest.param("TRACE", f"{PAGE}a-1.0.zip", {"GET", "HEAD", "POST", "PATCH", "DELETE"}, id="file"),
    ],
)
def test_methods(client: FlaskClient, method: str, path: str, allowed: set[str]) -> None:
    """The answer to an unknown method names the allowed ones."""
    answer = client.open(path, method=method)
    assert (answer.status_code, answer.text) == (405, f"{method} is not allowed at this address")
    assert set(answer.headers["Allow"].split(", ")) == allowed
    assert answer.headers["Cache-Control"] == "no-store"


def test_bad_host(client: FlaskClient, store: MemoryStore) -> None:
    """An invalid Host is refused, or quoted in the legacy JSON."""
    store.put("hello_world-1.0.zip")
    answer = client.get(f"{PAGE}json", headers={"Host": 'a"b<c>'})
    assert answer.status_code in {200, 400}
    assert b'a"b' not in answer.data


def test_health_and_home(client: FlaskClient) -> None:
    """/health asks no registry, and / redirects to the project's home page."""
    assert (client.get("/health").text, client.get("/health").headers["Cache-Control"]) == ("ok", "no-store")
    home = client.get("/")
    assert home.status_code == 302
    assert home.headers["Location"].startswith("https://")
    assert home.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert home.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in home.headers


def test_other_routes(app: Flask) -> None:
    """Other routes of the application fail in the same way."""

    @app.get("/v2/")
    def busy() -> str:
        raise ServiceUnavailable("come back later", retry_after=3)

    answer = app.test_client().get("/v2/")
    assert (answer.status, answer.text) == ("503 come back later", "come back later")
    assert answer.headers["Retry-After"] == "3"
    assert answer.headers["Cache-Control"] == "no-store"


EXHAUSTED = [
    MemoryError(),
    MemoryError("zlib"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError(errno.ENOBUFS, "No buffer space available"),
    RuntimeError("can't start new thread"),
]


@pytest.mark.parametrize("failure", EXHAUSTED, ids=repr)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_no_memory_is_a_503(
    client: FlaskClient, store: MemoryStore, logged: LoggedEvents, failure: Exception, method: str
) -> None:
    """Other requests will soon free theirs. The log has no traceback."""
    store.failure = failure
    answer = client.open(PAGE if method == "GET" else f"{PAGE}1.0", method=method)
    assert answer.status == "503 PyOCI has no memory left for this request; try again later"
    assert answer.text == "PyOCI has no memory left for this request; try again later"
    assert answer.headers["Retry-After"] == "5"
    assert [event for event in logged if event["level"] == "error"] == [
        {"event": "no memory or no thread left", "room": "web", "level": "error"}
    ]


def test_busy_is_not_out_of_memory(client: FlaskClient, store: MemoryStore, logged: LoggedEvents) -> None:
    """It is also a 503 with Retry-After. Its reason has already been logged."""
    store.failure = errors.Busy("PyOCI is busy with other large projects; try again later")
    answer = client.get(PAGE)
    assert answer.status == "503 PyOCI is busy with other large projects; try again later"
    assert answer.headers["Retry-After"] == "5"
    assert [event for event in logged if event["level"] == "error"] == []


@pytest.mark.parametrize(
    "failure", [RuntimeError("dictionary changed size"), OSError(errno.EIO, "bad"), KeyError()], ids=repr
)
def test_defect_is_not_a_503(client: FlaskClient, store: MemoryStore, failure: Exception) -> None:
    """Only a known lack of memory or threads may be retried."""
    store.failure = failure
    assert client.get(PAGE).status_code == 500


@pytest.mark.parametrize("failure", EXHAUSTED, ids=repr)
@pytest.mark.parametrize("started", [False, True])
def test_no_memory_for_an_answer(logged: LoggedEvents, failure: Exception, *, started: bool) -> None:
    """If the error's own answer fails, too, the server neither logs a traceback nor sends its own page."""

    def application(_environ: Any, start_response: Any) -> Any:
        if started:
            start_response("200 OK", [])
        raise failure

    calls: list[tuple[Any, ...]] = []
    body = WithoutMemory(application, Events(logged.log))({}, lambda *call: calls.append(call))  # type: ignore[arg-type]
    status, headers, exc_info = calls[-1]
    assert status == "503 PyOCI has no memory left for this request; try again later"
    assert dict(headers)["Content-Length"] == str(len(b"".join(body)))
    assert ("Connection", "close") in headers
    assert exc_info[0] is MemoryError
    assert [event["event"] for event in logged] == ["no memory or no thread left"]


def test_other_failures_are_not_taken_for_memory(logged: LoggedEvents) -> None:
    """They are raised unchanged."""

    def application(_environ: Any, _start_response: Any) -> Any:
        raise LookupError

    with pytest.raises(LookupError):
        WithoutMemory(application, Events(logged.log))({}, lambda *_: None)  # type: ignore[arg-type]
