"""Upload forms as bytes, valid and invalid."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.builders import make_wheel

BOUNDARY = "----8a7f0c"
WHEEL, CONTENT = make_wheel()
ROOT = "/ghcr.io/acme/"


def make_part(name: str, value: str | bytes, *, filename: str | None = None, headers: str = "") -> bytes:
    """One part of a form; `headers` are whole lines."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    data = value.encode() if isinstance(value, str) else value
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{headers}\r\n".encode() + data + b"\r\n"


def make_fields(**overrides: str | bytes | list[str] | None) -> dict[str, Any]:
    """The fields of a valid upload; None removes one. `action` stands for `:action`."""
    fields: dict[str, Any] = {
        "action": "file_upload",
        "protocol_version": "1",
        "name": "hello-world",
        "version": "1.0",
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "metadata_version": "2.1",
        "sha256_digest": hashlib.sha256(CONTENT).hexdigest(),
    } | overrides
    return {(":action" if name == "action" else name): v for name, v in fields.items() if v is not None}


def make_form(
    *,
    filename: str = WHEEL,
    content: bytes = CONTENT,
    before: bytes = b"",
    after: bytes = b"",
    end: bytes = f"--{BOUNDARY}--\r\n".encode(),
    **overrides: str | bytes | list[str] | None,
) -> bytes:
    """The body of an upload; `before` and `after` are parts around `content`."""
    parts = [
        make_part(name, value)
        for name, values in make_fields(**overrides).items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return b"".join([*parts, before, make_part("content", content, filename=filename), after, end])


def post(client: FlaskClient, body: bytes, path: str = ROOT, **arguments: Any) -> TestResponse:
    """Send the body as a form."""
    content_type = arguments.pop("content_type", f"multipart/form-data; boundary={BOUNDARY}")
    stream = io.BytesIO(body)  # `data` would be taken apart and put together again
    return client.post(
        path, input_stream=stream, content_length=len(body), content_type=content_type, **arguments
    )
