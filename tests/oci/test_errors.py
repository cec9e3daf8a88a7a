"""A registry's refusal becomes an error of one kind, with one line of text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci import errors
from pyoci.oci.errors import RegistryError, RegistryRateLimited, cleaned, registry_error, retry_after


def body(code: str = "CODE", message: str = "words", **extra: Any) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, **extra}]}).encode()


def make_error(status: int, content: bytes = b"", **headers: str) -> RegistryError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return registry_error("read 1.0", "ghcr.io", status, named, content)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequest),
        (401, errors.Unauthorized),
        (402, errors.Denied),
        (403, errors.Denied),
        (404, errors.NotFound),
        (405, errors.NotSupported),
        (406, errors.InvalidRequest),
        (408, errors.Unreachable),
        (409, errors.Denied),
        (411, errors.InvalidRequest),
        (412, errors.Denied),
        (413, errors.TooLarge),
        (416, errors.InvalidRequest),
        (429, errors.RateLimited),
        (451, errors.Denied),
        (500, errors.ProtocolError),
        (501, errors.NotSupported),
        (502, errors.ProtocolError),
        (503, errors.ProtocolError),
        (504, errors.Unreachable),
        (200, errors.ProtocolError),
        (204, errors.ProtocolError),
        (307, errors.ProtocolError),
        (600, errors.ProtocolError),
    ],
)
def test_a_status_has_a_kind(status: int, kind: type[errors.PyOCIError]) -> None:
    """The message says which registry answered which status to which request."""
    error = make_error(status, body())
    assert isinstance(error, kind)
    assert error.message == f"ghcr.io answered {status} when asked to read 1.0: words"
    assert (error.status, error.codes, error.operation) == (status, ("CODE",), "read 1.0")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        pytest.param(400, "UNSUPPORTED", errors.NotSupported, id="docker-registry 2.8.2 deletes no tag"),
        pytest.param(405, "UNSUPPORTED", errors.NotSupported, id="docker-registry, deleting switched off"),
        pytest.param(400, "DIGEST_INVALID", errors.InvalidRequest, id="Harbor and Pulp delete no tag"),
        pytest.param(405, "", errors.NotSupported, id="Quay deletes no blob, ghcr.io nothing"),
        pytest.param(412, "PRECONDITION", errors.Denied, id="Harbor keeps the child of an image index"),
        pytest.param(409, "TAG_IMMUTABLE", errors.Denied, id="Quay's immutable tag is no conflict of ours"),
        pytest.param(400, "TAG_INVALID", errors.InvalidRequest, id="AWS ECR's immutable tag"),
        pytest.param(401, "UNSUPPORTED", errors.Unauthorized, id="a 401 stays one"),
        pytest.param(404, "UNSUPPORTED", errors.NotFound, id="a 404 stays one"),
        pytest.param(429, "UNSUPPORTED", errors.RateLimited, id="a 429 stays one"),
        pytest.param(500, "UNSUPPORTED", errors.ProtocolError, id="a 500 stays one"),
    ],
)
def test_refused_deletes_have_their_kind(status: int, code: str, kind: type[errors.PyOCIError]) -> None:
    """By these kinds of error the store chooses the next way to delete."""
    assert isinstance(make_error(status, body(code)), kind)


def test_kind_may_differ_from_the_status() -> None:
    """The message has the status of the answer, the kind has its meaning."""
    error = registry_error("sign in", "ghcr.io", 403, {}, b"", judged=401)
    assert isinstance(error, errors.Unauthorized)
    assert (error.status, error.message) == (403, "ghcr.io answered 403 when asked to sign in")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(body(message="a\nb\r\n  c\td\x00e"), "a b c d e", id="lines and control characters"),
        pytest.param(body(message="naïve"), "naïve", id="Latin-1"),
        pytest.param(body(message="中文 € ok"), "?? ? ok", id="beyond Latin-1"),
        pytest.param(body(message="x" * 5000), "x" * 197 + "...", id="long"),
        pytest.param(body(message="\ud800"), "", id="half a character"),
        pytest.param(body(message="", code="DENIED"), "DENIED", id="code alone"),
        pytest.param(b'{"errors":[{"message":"a"},{"message":"b"},{"message":"a"}]}', "a; b", id="several"),
        pytest.param(b'{"errors":[{"message":{"a":1},"code":"X"}]}', "X", id="message of the wrong shape"),
        pytest.param(b'{"errors":[1,null,"x",{"message":"a"}]}', "a", id="entries of the wrong shape"),
        pytest.param(b'{"errors":null,"message":"a"}', "a", id="plain message"),
        pytest.param(b'{"details":"incorrect password"}', "incorrect password", id="Docker Hub"),
        pytest.param(b'{"error":"invalid_grant","error_description":"a"}', "a", id="OAuth"),
        pytest.param(b'{"errors":{"message":"a"}}', "", id="errors of the wrong shape"),
        pytest.param(b"<html>secret internal page</html>", "", id="HTML"),
        pytest.param(b'["a"]', "", id="list"),
        pytest.param(b"[" * 60_000, "", id="nesting"),
        pytest.param(b"\xff\xfe\x00", "", id="no text"),
        pytest.param(b"", "", id="nothing"),
    ],
)
def test_a_message_is_cleaned(content: bytes, text: str) -> None:
    """It is one short line of Latin-1, and never a proxy's HTML page."""
    expected = "ghcr.io answered 400 when asked to read 1.0" + (f": {text}" if text else "")
    assert make_error(400, content).message == expected


@given(st.binary() | st.text().map(lambda text: body(text, text)))
def test_no_body_raises(content: bytes) -> None:
    """The message can be sent in a header, whatever the body is."""
    message = make_error(400, content).message
    assert message.isprintable()
    assert message.encode("latin-1")


@given(st.text())
def test_any_text_can_be_cleaned(text: str) -> None:
    """Also as a part of a longer one."""
    assert len(cleaned(text, 50)) <= 50
    assert cleaned(text, 50).isprintable()


@pytest.mark.parametrize(
    ("header", "text", "seconds"),
    [
        pytest.param("7", "", 7, id="seconds"),
        pytest.param(None, "retry-after: 395.043µs, allowed: 44000/minute", 1, id="ghcr.io, microseconds"),
        pytest.param(None, "retry-after: 1m30.5s, allowed: 2000/minute", 91, id="ghcr.io, minutes"),
        pytest.param(None, "Retry-After 2h", 7200, id="hours"),
        pytest.param(None, "retryafter: 1500ms", 2, id="milliseconds"),
        pytest.param(None, "retry-after: 5ns", 1, id="nanoseconds"),
        pytest.param(None, "retry-after: 999999999h", 86400, id="for ever"),
        pytest.param("soon", "retry-after: 3s", 3, id="header of no use"),
        pytest.param("7", "retry-after: 3s", 7, id="header first"),
        pytest.param(None, "too many requests", None, id="nothing said"),
        pytest.param(None, "retry-after: soon", None, id="no duration"),
        pytest.param(None, "", None, id="nothing at all"),
    ],
)
def test_a_wait_is_whole_seconds(header: str | None, text: str, seconds: int | None) -> None:
    """From seconds, from a date, or from ghcr.io's message with a Go duration."""
    assert retry_after(header, text) == seconds


def test_a_429_says_how_long() -> None:
    """From its date, or from ghcr.io's message."""
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    dated = make_error(429, retry_after=moment)
    told = make_error(429, body("TOOMANYREQUESTS", "retry-after: 41.2s, allowed: 44000/minute"))
    assert isinstance(dated, RegistryRateLimited)
    assert dated.retry_after in {29, 30}
    assert isinstance(told, RegistryRateLimited)
    assert told.retry_after == 42
