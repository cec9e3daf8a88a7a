"""What a registry refused. RegistryError tells what was asked and answered; its children are also one of
the kinds of `pyoci.errors`, so that nobody above needs to know a registry's codes.

RegistryError
├── RegistryUnauthorized    401
├── RegistryDenied          403, and conflicts with the registry's own rules (immutable tags)
├── RegistryNotFound        404
├── RegistryNotSupported    405, 501, or the code UNSUPPORTED
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
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pyoci import errors

_TEXT_LIMIT = 200  # characters of a registry's message that are passed on
ERROR_BODY_LIMIT = 64 * 1024  # bytes of an error body that are read
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


class RegistryError(errors.PyOCIError):
    """A registry answered with something else than what was expected.

    `operation` says what was asked, in words; `codes` are those of the error body, if it had one.
    """

    operation = ""
    status = 0
    codes: tuple[str, ...] = ()


class RegistryUnauthorized(RegistryError, errors.Unauthorized): ...


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
    403: RegistryDenied,
    404: RegistryNotFound,
    405: RegistryNotSupported,
    # Quay answers 409 for an immutable tag. It is no 409 of ours: poetry would skip the file as uploaded.
    409: RegistryDenied,
    412: RegistryDenied,
    413: RegistryTooLarge,
    429: RegistryRateLimited,
    501: RegistryNotSupported,
    504: RegistrySilent,
}


def registry_error(
    operation: str, host: str, status: int, headers: Mapping[str, str], body: bytes
) -> RegistryError:
    """The error that describes an answer which `operation` did not expect."""
    codes, text = _parse(body)
    kind = _BY_STATUS.get(status) or (RegistryRefused if 400 <= status < 500 else RegistryFailed)
    if "UNSUPPORTED" in codes and status < 500:
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
    if header and re.fullmatch(r"\s*\d{1,9}\s*", header):
        return int(header)
    if header:
        try:
            wait = parsedate_to_datetime(header) - datetime.now(UTC)
        except (ValueError, TypeError):
            return None
        return max(math.ceil(wait.total_seconds()), 0)
    found = re.search(r"retry-?after:?\s*((?:\d+(?:\.\d+)?(?:h|ms|m|us|µs|μs|ns|s))+)", text, re.IGNORECASE)
    if found is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|us|µs|μs|ns|s)", found[1])
    return max(math.ceil(sum(float(number) * _UNITS[unit] for number, unit in parts)), 1)


def _parse(body: bytes) -> tuple[tuple[str, ...], str]:
    """Codes and messages of a standard error body; nothing of any other (a proxy's HTML, say)."""
    try:
        found = json.loads(body[:ERROR_BODY_LIMIT])["errors"]
        entries = [entry for entry in found if isinstance(entry, dict)][:10]
    except (ValueError, TypeError, KeyError, RecursionError):
        return (), ""
    codes = tuple(str(entry.get("code", ""))[:50].upper() for entry in entries)
    texts = dict.fromkeys(str(entry.get("message") or entry.get("code") or "") for entry in entries)
    return codes, _clean("; ".join(filter(None, texts)))


def _clean(text: str) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _TEXT_LIMIT]).split())
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 3] + "..."
