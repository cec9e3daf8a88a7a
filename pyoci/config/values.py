"""The values of settings, and how each is parsed from the text of a variable.

A parser raises ValueError with what is wrong and what was expected. The message doesn't repeat possible
secrets.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyoci.config.environment import SHOWN, Reader
from pyoci.oci.registries import RESERVED

LEVELS = ("debug", "info", "warning", "error", "off")
_LEVEL_NAMES = {**{level: level for level in LEVELS}, "warn": "warning", "trace": "debug"}
_NAME_LIMIT = 255  # characters
_TAG_LIMIT = 128  # characters
_BASE_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?:/[!-~]*)?")
_SEGMENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_LINE_LIMIT = 10_000  # characters of the first line of a file with credentials
_SECRET_LENGTH = 32  # characters at least

# Azure's container apps set these variables. The Rust PyOCI reports them as the same attributes.
RESOURCE_ATTRIBUTES = {
    "DEPLOYMENT_ENVIRONMENT": "deployment.environment",
    "CONTAINER_APP_NAME": "k8s.container.name",
    "CONTAINER_APP_REVISION": "k8s.pod.name",
    "CONTAINER_APP_REPLICA_NAME": "k8s.replicaset.name",
}


@dataclass(frozen=True, slots=True)
class LogLevels:
    """The lowest level that is logged: by package in `rooms`, and `default` for all other packages."""

    default: str = "info"
    rooms: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> LogLevels:
        """Read PYOCI_LOG, or RUST_LOG if that is unset. Unknown parts of RUST_LOG cause warnings."""
        if reader.text("PYOCI_LOG"):
            return reader.get("PYOCI_LOG", cls._parse, cls())
        levels, odd = cls._understood(reader.text("RUST_LOG"))
        reader.warnings += [f"RUST_LOG: {part!r} is not known to PyOCI and is ignored" for part in odd]
        return levels

    @classmethod
    def _parse(cls, text: str) -> LogLevels:
        levels, odd = cls._understood(text)
        if odd:
            expected = f"expected {', '.join(LEVELS)}, or pyoci.oci=debug,info"
            raise ValueError(f"{', '.join(map(repr, odd))} is not a level; {expected}")
        return levels

    @classmethod
    def _understood(cls, text: str) -> tuple[LogLevels, list[str]]:
        """The levels in `text`, and the parts that are not levels."""
        default, rooms, odd = cls().default, dict[str, str](), []
        for part in filter(None, (part.strip() for part in text.split(","))):
            room, equals, name = part.rpartition("=")
            level = _LEVEL_NAMES.get(name.strip().lower())
            if level is None or not (re.fullmatch(r"pyoci([.:]+[a-z]+)*", room.strip()) or not equals):
                odd.append(part[:SHOWN])
            elif equals:
                rooms[re.sub(r"[:.]+", ".", room.strip()).removeprefix("pyoci").removeprefix(".")] = level
            else:
                default = level
        return cls(default, rooms), odd


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Whether and where to send telemetry. `resource` has this server's OpenTelemetry attributes."""

    wanted: bool
    endpoint: str  # empty: OpenTelemetry's own variables name it
    authorization: str = field(repr=False)
    resource: Mapping[str, str]

    @classmethod
    def read(cls, reader: Reader) -> Export:
        """Read OTLP_ENDPOINT and related variables. OpenTelemetry's own variables also switch the export on
        and off.
        """
        endpoint = reader.get("OTLP_ENDPOINT", base_url, "")
        signals = ("", "_TRACES", "_METRICS", "_LOGS")
        elsewhere = any(reader.environ.get(f"OTEL_EXPORTER_OTLP{signal}_ENDPOINT") for signal in signals)
        disabled = reader.text("OTEL_SDK_DISABLED").lower() == "true"
        resource = {name: reader.get(variable, label, "") for variable, name in RESOURCE_ATTRIBUTES.items()}
        return cls(
            wanted=(bool(endpoint) or elsewhere) and not disabled,
            endpoint=endpoint,
            authorization=reader.get("OTLP_AUTH", header, ""),
            resource={name: value for name, value in resource.items() if value},
        )


def proxies(reader: Reader) -> dict[str, str]:
    """HTTP_PROXY and HTTPS_PROXY in either case. The lower-case http_proxy takes precedence, since CGI sets
    HTTP_PROXY from a request's header.
    """
    environ = reader.environ
    found = {
        scheme: environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY")
        for scheme in ("http", "https")
    }
    return {scheme: proxy for scheme, proxy in found.items() if proxy}


def cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The number of processors that this process may use: its affinity, limited by its container's quota.

    `cpu_max` is the file with that quota (cgroup v2).
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (int(word) for word in cpu_max.read_text().split())  # microseconds; or `max`
        return max(min(usable, math.ceil(quota / period)), 1)
    except (OSError, ValueError, ZeroDivisionError):
        return usable


def default_workers(cores: int) -> int:
    """At least two processes, so that one can answer while the other computes hashes."""
    return min(max(cores, 2), 8)


def default_threads(workers: int) -> int:
    """Enough for 80 concurrent transfers in all processes. Pages need only eight threads; more slow them by a
    few percent.
    """
    return max(80 // workers, 16)


def number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
            raise ValueError(f"{text[:SHOWN]!r} is not valid; expected a whole number from {least} to {most}")
        return int(text)

    return parse


def yes_or_no(text: str) -> bool:
    if text.lower() not in {"yes", "no"}:
        raise ValueError(f"{text[:SHOWN]!r} is not valid; expected yes or no")
    return text.lower() == "yes"


def comes_from_here(text: str) -> bool:
    if text not in {"direct", "proxy", "store"}:
        raise ValueError(f"{text[:SHOWN]!r} is not valid; expected direct, proxy or store")
    return text != "direct"


def prefix(text: str) -> str:
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+/?|/+", text) or "/.." in text:
        raise ValueError(f"{text[:SHOWN]!r} is not a path; expected one like /packages")
    if text.split("/")[1] in RESERVED:
        raise ValueError(f"{text[:SHOWN]!r} is an address of PyOCI itself; choose another")
    return text.rstrip("/")


def base_url(text: str) -> str:
    if not _is_base_url(text):
        raise ValueError(
            "this isn't a base URL; expected one like https://collector.example.com:4318, without credentials"
        )
    return text.rstrip("/")


def osv_url(text: str) -> str:
    """The URL of OSV's API, with a slash at its end and without the `v1/` of its paths."""
    expected = "expected one like https://api.osv.dev/, without credentials"
    if not _is_base_url(text):
        raise ValueError(f"this isn't the URL of a service; {expected}")
    if text.rstrip("/").endswith("/v1"):
        raise ValueError(f"the URL ends with v1/, which PyOCI appends by itself; {expected}")
    return f"{text.rstrip('/')}/"


def _is_base_url(text: str) -> bool:
    """Whether paths can be appended to it: it has no query, no fragment and no credentials."""
    return bool(_BASE_URL.fullmatch(text)) and not re.search("[?#@]", text)


def header(text: str) -> str:
    if not re.fullmatch(r"[!-~]+(?: +[!-~]+)*", text):
        raise ValueError("this is not a header's value; expected all of an Authorization, like Bearer TOKEN")
    return text


def secret(text: str) -> str:
    """Raises ValueError without repeating the value."""
    if len(text) < _SECRET_LENGTH or not text.isprintable():
        raise ValueError(
            f"this is not a key; expected at least {_SECRET_LENGTH} visible characters, for instance those "
            "that `openssl rand -hex 32` prints"
        )
    return text


def label(text: str) -> str:
    if not text.isprintable() or len(text) > _NAME_LIMIT:
        raise ValueError(f"this is not a name; expected at most {_NAME_LIMIT} visible characters")
    return text


def username(text: str) -> str:
    if ":" in text or not text.isprintable():
        raise ValueError("this is not a user name; expected visible characters without a colon")
    return text


def credentials_file(text: str) -> Path:
    path = existing_file(text)
    credentials_in(path, repr(text[:SHOWN]))
    return path


def credentials_in(file: Path, name: str) -> tuple[str, str]:
    """The user name and the password in a file that messages call `name`. Raises ValueError without repeating
    what the file has.
    """
    try:
        with file.open(encoding="utf-8") as content:
            username, _, password = content.readline(_LINE_LIMIT).strip().partition(":")
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it isn't UTF-8"
        raise ValueError(f"{name} can't be read: {reason}") from None
    if not username or not password:
        raise ValueError(f"{name} has no credentials; expected user:password on the first line")
    return username, password


def repository_segment(text: str) -> str:
    """One segment of a repository's name. Raises ValueError."""
    if not (_SEGMENT.fullmatch(text) and len(text) <= _TAG_LIMIT):
        raise ValueError(
            f"{text[:SHOWN]!r} is not a name; expected lower case letters and digits, joined by one of . _ -,"
            " like pyoci.catalog"
        )
    return text


def directory(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise ValueError(
            f"{text[:SHOWN]!r} is not a directory; expected one, or a path where one can be created"
        )
    return path


def existing_file(text: str, expected: str = "one") -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f"there is no file {text[:SHOWN]!r}; expected {expected}")
    return path


def htpasswd_file(text: str) -> Path:
    return existing_file(text, "one with lines of user:bcrypt-hash")


def certificates(text: str) -> str:
    if not Path(text).exists():
        raise ValueError(f"there is no file {text[:SHOWN]!r}; expected one with certificates")
    return text
