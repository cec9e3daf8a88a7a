"""What a registry refused. RegistryError tells what was asked and answered; its children are also one of
the kinds of `pyoci.errors`, so that nobody above needs to know a registry's codes.

RegistryError
├── RegistryUnauthorized    401
├── RegistryDenied          403, and what the registry's own rules forbid (immutable tags, quotas)
├── RegistryNotFound        404
├── RegistryNotSupported    405, 501, or the code UNSUPPORTED (docker-registry 2.8 with a 400)
├── RegistryTooLarge        413
├── RegistryRateLimited     429
├── RegistryRefused         any other 4xx
├── RegistryFailed          5xx, or an answer that no operation expects
└── RegistrySilent          504: somebody on the way gave up waiting
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pyoci import errors
from pyoci.net.messages import ERROR_LIMIT
from pyoci.net.retries import LONGEST_WAIT, retry_after_seconds
from pyoci.oci.credentials import without

_TEXT_LIMIT = 200  # characters of a registry's message that are passed on
_CODES = 10  # entries of an error body that are looked at
_DURATION = re.compile(
    r"retry-?after:?\s*((?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:h|ms|m|us|µs|μs|ns|s))+)", re.IGNORECASE
)
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


class RegistryError(errors.PyOCIError):
    """A registry answered with something else than what was expected.

    `operation` says what was asked, in words; `codes` are those of the error body, if it had one.
    """

    operation = ""
    status = 0
    codes: tuple[str, ...] = ()


class RegistryUnauthorized(RegistryError, errors.Unauthorized):
    """`wrong_credentials`: nobody knows them, whatever they were to open."""

    wrong_credentials = False


class RegistryDenied(RegistryError, errors.Denied): ...


class RegistryNotFound(RegistryError, errors.NotFound): ...


class RegistryNotSupported(RegistryError, errors.NotSupported): ...


class RegistryTooLarge(RegistryError, errors.TooLarge): ...


class RegistryRateLimited(RegistryError, errors.RateLimited): ...


class RegistryRefused(RegistryError, errors.InvalidRequest): ...


class RegistryFailed(RegistryError, errors.ProtocolError): ...


class RegistrySilent(RegistryError, errors.Unreachable): ...


_BY_STATUS: dict[int, type[RegistryError]] = {
    401: RegistryUnauthorized,
    402: RegistryDenied,
    403: RegistryDenied,
    404: RegistryNotFound,
    405: RegistryNotSupported,
    408: RegistrySilent,
    # Quay answers 409 for an immutable tag. It is no 409 of ours: poetry would skip the file as uploaded.
    409: RegistryDenied,
    412: RegistryDenied,
    413: RegistryTooLarge,
    429: RegistryRateLimited,
    451: RegistryDenied,
    501: RegistryNotSupported,
    504: RegistrySilent,
}


def registry_error(
    operation: str,
    host: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    judged: int | None = None,
    secrets: Iterable[str] = (),
) -> RegistryError:
    """The error that describes an answer which `operation` did not expect.

    `judged` is the status that it comes down to, where a registry's own says something else. `secrets` are
    left out of its text, should it repeat them: messages end in logs and in status lines.
    """
    codes, text = _parse(body, secrets)
    number = judged or status
    kind = _BY_STATUS.get(number) or (RegistryRefused if 400 <= number < 500 else RegistryFailed)
    if "UNSUPPORTED" in codes and kind is RegistryRefused:
        kind = RegistryNotSupported
    message = f"{host} answered {status} when asked to {operation}" + (f": {text}" if text else "")
    error = kind(message)
    error.operation, error.status, error.codes = operation, status, codes
    if isinstance(error, RegistryRateLimited):
        error.retry_after = retry_after(headers.get("retry-after"), text)
    return error


def retry_after(header: str | None, text: str = "") -> int | None:
    """Whole seconds to wait, from a Retry-After header or a message with a Go duration (ghcr.io's 429).

    The header is a number or, from some, a date; clients are only ever told a number.
    """
    asked = retry_after_seconds(header)
    if asked is not None:
        return asked
    found = _DURATION.search(text)
    if found is None:
        return None
    parts = re.findall(r"([0-9.]+)([hmsuµμn]+)", found[1].lower())
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return min(max(math.ceil(seconds), 1), LONGEST_WAIT)


def cleaned(text: str, limit: int = _TEXT_LIMIT) -> str:
    """Somebody else's text as part of a message of ours: one line of Latin-1, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    line = line.encode("latin-1", "replace").decode("latin-1")
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _parse(body: bytes, secrets: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """Codes and messages of an error body; nothing of what is none (a proxy's HTML, say)."""
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
    """Docker Hub's token server says `details`, OAuth's say `error_description`."""
    return next((found for key in keys if isinstance(found := document.get(key), str) and found), "")
