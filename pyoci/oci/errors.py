"""RegistryError: an unexpected answer of a registry. Its subclasses also derive from the kinds in
`pyoci.errors`, so that other packages need not know a registry's codes.

RegistryError
├── RegistryUnauthorized    401
├── RegistryDenied          403, and what the registry's rules forbid (immutable tags, quotas)
├── RegistryNotFound        404
├── RegistryNotSupported    405, 501, or the code UNSUPPORTED (docker-registry 2.8 with a 400)
├── RegistryTooLarge        413, or a manifest over the registry's limit
├── RegistryRateLimited     429
├── RegistryRefused         any other 4xx
├── RegistryFailed          5xx, or an answer that no operation expects
└── RegistrySilent          504: a proxy gave up waiting
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pyoci import errors
from pyoci.net.messages import ERROR_LIMIT, Answer, Call, Stream
from pyoci.net.retries import LONGEST_WAIT, retry_after_seconds
from pyoci.oci.credentials import without
from pyoci.oci.quirks import is_over_manifest_limit, meant_status, wait_in

# The codes with which registries refuse a manifest whose blob or child manifest they don't have, or not yet.
LACKS_BLOB = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})

_TEXT_LIMIT = 200  # characters of a registry's message that are passed on
_CODES = 10  # entries of an error body that are read


class RegistryError(errors.PyOCIError):
    """An unexpected answer. `operation` describes the request in words; `codes` are those of the
    error body.
    """

    operation = ""
    status = 0
    codes: tuple[str, ...] = ()


class RegistryUnauthorized(RegistryError, errors.Unauthorized):
    """`wrong_credentials`: the token server rejects the credentials for any scope."""

    wrong_credentials = False


class RegistryDenied(RegistryError, errors.Denied): ...


class RegistryNotFound(RegistryError, errors.NotFound): ...


class RegistryNotSupported(RegistryError, errors.NotSupported): ...


class RegistryTooLarge(RegistryError, errors.TooLarge): ...


class RegistryRateLimited(RegistryError, errors.RateLimited): ...


class RegistryRefused(RegistryError, errors.InvalidRequest): ...


class RegistryFailed(RegistryError, errors.ProtocolError): ...


class RegistryFull(RegistryFailed):
    """The registry has no room left, which another attempt doesn't change."""


class RegistrySilent(RegistryError, errors.Unreachable): ...


_BY_STATUS: dict[int, type[RegistryError]] = {
    401: RegistryUnauthorized,
    402: RegistryDenied,
    403: RegistryDenied,
    404: RegistryNotFound,
    405: RegistryNotSupported,
    408: RegistrySilent,
    # Quay answers 409 for an immutable tag. PyOCI must not pass it on: poetry would skip the file as
    # uploaded.
    409: RegistryDenied,
    412: RegistryDenied,
    413: RegistryTooLarge,
    429: RegistryRateLimited,
    451: RegistryDenied,
    501: RegistryNotSupported,
    504: RegistrySilent,
    507: RegistryFull,
}


def registry_error(
    operation: str,
    host: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    call: Call | None = None,
    judged: int | None = None,
    secrets: Iterable[str] = (),
    hint: str = "",
) -> RegistryError:
    """The error for an unexpected answer to `operation`.

    `call` is what the registry answered. `judged` is the status that the answer means, if the caller of this
    function knows better than `meant_status`. `secrets` are masked in the text, because messages are logged
    and sent in status lines. `hint` is that of the credentials, for a 401.
    """
    codes, text = _parse(body, secrets)
    number = judged or meant_status(status, call, codes)
    if call is not None and is_over_manifest_limit(status, call, codes, body):
        number, reason = 413, f" ({text})" if text else ""
        text = f"the manifest has {len(call.body)} bytes, which is over the registry's limit{reason}"
    kind = _BY_STATUS.get(number) or (RegistryRefused if 400 <= number < 500 else RegistryFailed)
    message = f"{host} answered {status} when asked to {operation}" + (f": {text}" if text else "")
    error = kind(message + hint if kind is RegistryUnauthorized else message)
    error.operation, error.status, error.codes = operation, status, codes
    if isinstance(error, RegistryRateLimited):
        error.retry_after = retry_after(headers.get("retry-after"), text)
    return error


def is_absence(call: Call, answer: Answer | Stream) -> bool:
    """Whether the registry answered that what `call` is for doesn't exist."""
    return meant_status(answer.status, call) == 404


def retry_after(header: str | None, text: str = "") -> int | None:
    """Whole seconds to wait, from a Retry-After header or from a message with a Go duration, as ghcr.io's
    429.
    """
    asked = retry_after_seconds(header)
    if asked is not None:
        return asked
    waited = wait_in(text)
    return None if waited is None else min(waited, LONGEST_WAIT)


def cleaned(text: str, limit: int = _TEXT_LIMIT) -> str:
    """A foreign text in a form that our messages can contain: one line of Latin-1, at most `limit`
    characters.
    """
    line = text[: 4 * limit]
    if not line.isprintable():
        line = "".join(c if c.isprintable() else " " for c in line)
    line = " ".join(line.split()).encode("latin-1", "replace").decode("latin-1")
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _parse(body: bytes, secrets: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """Codes and messages of an error body; empty for other content, such as a proxy's HTML."""
    try:
        document = json.loads(body[:ERROR_LIMIT])
    except (ValueError, RecursionError):
        return (), ""
    if not isinstance(document, dict):
        return (), ""
    entries = document.get("errors")
    if not isinstance(entries, list):
        text = _first_text(document, "message", "details", "error_description", "error")
        return (), cleaned(without(secrets, text))
    entries = [entry for entry in entries if isinstance(entry, dict)][:_CODES]
    codes = tuple(_first_text(entry, "code")[:50].upper() for entry in entries)
    texts = dict.fromkeys(_first_text(entry, "message", "code") for entry in entries)
    return codes, cleaned(without(secrets, "; ".join(filter(None, texts))))


def _first_text(document: dict[str, Any], *keys: str) -> str:
    """The text of the first of these keys that has one. Docker Hub's token server uses `details`, OAuth
    `error_description`.
    """
    return next((found for key in keys if isinstance(found := document.get(key), str) and found), "")
