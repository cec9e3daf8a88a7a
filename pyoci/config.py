"""Settings: everything that the environment says, read once. All mistakes are reported together."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from pyoci.cache.address import CacheAddress
from pyoci.distributions.private import PrivateProjects
from pyoci.errors import PyOCIError
from pyoci.oci.registries import Registries
from pyoci.oci.short_urls import DEFAULT, ShortUrl, ShortUrls
from pyoci.upstream.address import UpstreamAddress, authorization_of

RESERVED = frozenset({"_", "health", "ready", "metrics", "v2", "simple", "pypi", "legacy", "local"})
LEVELS = ("debug", "info", "warning", "error", "off")
_LEVEL_NAMES = {**{level: level for level in LEVELS}, "warn": "warning", "trace": "debug"}
_SHOWN = 80  # characters of a wrong value that are repeated
_NAME_LIMIT = 255  # characters
_SECRET_LENGTH = 32  # characters at least
_OURS = ("PYOCI", "OTLP")  # what our settings begin with, but for some that other programs know too

# Azure's container apps set these; the attributes are those of the Rust PyOCI.
_RESOURCE = {
    "DEPLOYMENT_ENVIRONMENT": "deployment.environment",
    "CONTAINER_APP_NAME": "k8s.container.name",
    "CONTAINER_APP_REVISION": "k8s.pod.name",
    "CONTAINER_APP_REPLICA_NAME": "k8s.replicaset.name",
}

_Value = TypeVar("_Value")


class WrongSettings(Exception):
    """The environment can't be used; the message has a line for each mistake."""


@dataclass(frozen=True, slots=True)
class LogLevels:
    """From which level on a room's lines are written: `rooms` by name, else `default`."""

    default: str = "info"
    rooms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporting:
    """Whether telemetry is sent, where to, and as whose: `resource` are OpenTelemetry's attributes."""

    wanted: bool = False
    endpoint: str = ""  # empty: where OpenTelemetry's own variables say
    authorization: str = field(default="", repr=False)
    resource: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decided. pyoci/variables.py describes each variable."""

    port: int = 8080
    path: str = ""
    max_body: int = 50_000_000
    max_versions: int = 1000
    bearer_username: str | None = None
    registries: Registries = field(default_factory=Registries)
    short_urls: ShortUrls = field(default_factory=ShortUrls)
    upstream: UpstreamAddress | None = None
    upstream_on_denied: bool = False
    private_projects: PrivateProjects = field(default_factory=PrivateProjects)
    host_connections: int = 16
    redirect: bool = False
    cache: CacheAddress = field(default_factory=CacheAddress)
    cache_key: str = field(default="", repr=False)
    cache_ttl: int = 60
    cache_ttl_old: int = 3600
    embedded: Path | None = None
    embedded_htpasswd: Path | None = None
    log: LogLevels = field(default_factory=LogLevels)
    otlp: Exporting = field(default_factory=Exporting)
    metrics: bool = False
    workers: int = 1
    threads: int = 80
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: str = ""
    ca_bundle: str | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the environment. Raises WrongSettings, which lists every mistake in it."""
        reader = _Reader(environ)
        log, warnings = reader.log_levels()
        embedded = reader.get("PYOCI_EMBEDDED", None, _path)
        workers = reader.get("WEB_CONCURRENCY", default_workers(cores()), _number(1, 1000))
        registries = reader.get(
            "PYOCI_REGISTRIES",
            Registries(embedded=embedded is not None),
            lambda text: Registries.read(text, reserved=RESERVED, embedded=embedded is not None),
        )
        settings = cls(
            port=reader.get("PORT", 8080, _number(1, 65535)),
            path=reader.get("PYOCI_PATH", "", _prefix),
            max_body=reader.get("PYOCI_MAX_BODY", 50_000_000, _number(1, 2**63)),
            max_versions=reader.get("PYOCI_MAX_VERSIONS", 1000, _number(0, 1_000_000)),
            bearer_username=reader.get("PYOCI_BEARER_USERNAME", None, _username),
            registries=registries,
            short_urls=reader.short_urls(registries),
            upstream=reader.upstream(),
            upstream_on_denied=reader.get("PYOCI_UPSTREAM_ON_DENIED", False, _yes_or_no),
            private_projects=reader.get("PYOCI_PRIVATE_PROJECTS", PrivateProjects(), PrivateProjects.parse),
            host_connections=reader.get("PYOCI_HOST_CONNECTIONS", 16, _number(1, 1000)),
            redirect=reader.get("PYOCI_REDIRECT", False, _yes_or_no),
            cache=reader.get("PYOCI_CACHE_URL", CacheAddress(), CacheAddress.parse),
            cache_key=reader.get("PYOCI_CACHE_KEY", "", _secret),
            cache_ttl=reader.get("PYOCI_CACHE_TTL", 60, _number(0, 86400)),
            cache_ttl_old=reader.get("PYOCI_CACHE_TTL_OLD", 3600, _number(0, 31_536_000)),
            embedded=embedded,
            embedded_htpasswd=reader.get("PYOCI_EMBEDDED_HTPASSWD", None, _file),
            log=log,
            otlp=reader.exporting(),
            metrics=reader.get("PYOCI_METRICS", False, _yes_or_no),
            workers=workers,
            threads=reader.get("PYOCI_THREADS", default_threads(workers), _number(1, 1000)),
            proxies=_proxies(environ),
            no_proxy=environ.get("no_proxy") or environ.get("NO_PROXY") or "",
            ca_bundle=reader.get("REQUESTS_CA_BUNDLE", reader.get("SSL_CERT_FILE", None, _bundle), _bundle),
            warnings=warnings,
        )
        settings = replace(settings, warnings=(*warnings, *settings._doubts()))
        reader.mistakes += settings._contradictions()
        if reader.mistakes:
            raise WrongSettings("PyOCI can't start with these settings:\n  " + "\n  ".join(reader.mistakes))
        return replace(settings, warnings=(*settings.warnings, *reader.misspelled()))

    def _doubts(self) -> Iterator[str]:
        """What is hardly meant."""
        if self.upstream is not None and self.upstream_on_denied and not self.private_projects.patterns:
            yield (
                "PYOCI_UPSTREAM_ON_DENIED without PYOCI_PRIVATE_PROJECTS: who may not read a private project "
                "gets the one of that name from upstream, whoever published it there"
            )

        if (
            self.upstream is not None
            and self.upstream.authorization is not None
            and self.registries.anyone
            and not self.short_urls.alone
        ):
            yield (
                "PYOCI_UPSTREAM_AUTH without PYOCI_REGISTRIES: whoever names a registry of their own, which "
                "lacks all projects, sees the pages that these credentials open; list your registries"
            )

        if self.cache_key and self.cache.kind != "redis":
            yield (
                "PYOCI_CACHE_KEY has no use where PYOCI_CACHE_URL names no Redis: it signs what is "
                "remembered there, and nothing else"
            )

        if self.upstream is not None and "simple" not in self.upstream.url:
            yield (
                "PYOCI_UPSTREAM_INDEX: most simple APIs have `simple` in their URL, and this one hasn't; "
                "where it is another page, no project is found"
            )

    def _contradictions(self) -> Iterator[str]:
        """What is wrong with settings that are right by themselves."""
        if self.embedded_htpasswd is not None and self.embedded is None:
            yield "PYOCI_EMBEDDED_HTPASSWD is set without PYOCI_EMBEDDED; expected both"
        if self.cache.kind == "memory" and self.workers > 1:
            yield (
                f"PYOCI_CACHE_URL: memory:// is that of one process, and there are to be {self.workers}; "
                "expected WEB_CONCURRENCY=1 with it, or file://"
            )


def cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The processors that this process may use: those of its affinity, and no more than its container's quota
    comes to, which the file `cpu_max` tells (cgroup v2).
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (int(word) for word in cpu_max.read_text().split())  # microseconds; or `max`
        return max(min(usable, math.ceil(quota / period)), 1)
    except (OSError, ValueError, ZeroDivisionError):
        return usable


def default_workers(cores: int) -> int:
    """Two processes on a small machine, so that one that hashes doesn't keep the other from answering."""
    return min(max(cores, 2), 8)


def default_threads(workers: int) -> int:
    """Enough for 80 transfers at once in all. Pages would do with eight; more cost them a few per cent."""
    return max(80 // workers, 16)


class _Reader:
    """Reads variables one by one and gathers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known = {"PYOCI_LOG", "PORT"}
        self.mistakes: list[str] = []

    def get(self, name: str, default: _Value, parse: Callable[[str], _Value]) -> _Value:
        """The value of a variable; the default where it is unset, empty or wrong."""
        self._known.add(name)
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except (ValueError, PyOCIError) as exc:
            self.mistakes += [f"{name}: {line}" for line in str(exc).splitlines()]
            return default

    def short_urls(self, registries: Registries) -> ShortUrls:
        """PYOCI_DEFAULT_INDEX and PYOCI_INDEXES, and whether nothing but them is served."""
        sound = len(self.mistakes)
        default = self.get("PYOCI_DEFAULT_INDEX", None, lambda text: ShortUrl.parse(text, registries))
        named = self.get(
            "PYOCI_INDEXES", ShortUrls(), lambda text: ShortUrls.read(text, registries, reserved=RESERVED)
        )
        urls = {**({DEFAULT: default} if default else {}), **named.urls}
        alone = self.get("PYOCI_ONLY_INDEXES", False, _yes_or_no)
        if alone and not urls and len(self.mistakes) == sound:
            self.mistakes.append(
                "PYOCI_ONLY_INDEXES: nothing would be served; expected PYOCI_DEFAULT_INDEX or PYOCI_INDEXES"
            )
        return ShortUrls(urls, alone)

    def upstream(self) -> UpstreamAddress | None:
        """PYOCI_UPSTREAM_INDEX with the credentials that stand in it or beside it."""
        header = self.get("PYOCI_UPSTREAM_AUTH", None, authorization_of)
        return self.get("PYOCI_UPSTREAM_INDEX", None, lambda text: UpstreamAddress.parse(text, header))

    def exporting(self) -> Exporting:
        """OTLP_ENDPOINT and what goes with it; OpenTelemetry's variables switch it on, too, and off."""
        endpoint = self.get("OTLP_ENDPOINT", "", _base_url)
        authorization = self.get("OTLP_AUTH", "", _header)
        others = ("", "_TRACES", "_METRICS", "_LOGS")
        elsewhere = any(self._environ.get(f"OTEL_EXPORTER_OTLP{signal}_ENDPOINT") for signal in others)
        disabled = self._environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        resource = {name: self.get(variable, "", _name) for variable, name in _RESOURCE.items()}
        return Exporting(
            wanted=(bool(endpoint) or elsewhere) and not disabled,
            endpoint=endpoint,
            authorization=authorization,
            resource={name: value for name, value in resource.items() if value},
        )

    def log_levels(self) -> tuple[LogLevels, tuple[str, ...]]:
        """PYOCI_LOG, or RUST_LOG in its stead, of which only what has a meaning here is taken."""
        if self._environ.get("PYOCI_LOG", "").strip():
            return self.get("PYOCI_LOG", LogLevels(), lambda text: _log_levels(text)[0]), ()
        text = self._environ.get("RUST_LOG", "").strip()
        levels, odd = _log_levels(text, strict=False)
        return levels, tuple(f"RUST_LOG: {part!r} has no meaning here and is ignored" for part in odd)

    def misspelled(self) -> tuple[str, ...]:
        """A warning for each variable that is named like a setting, and is none that was asked for."""
        return tuple(
            f"{name[:_SHOWN]} is no setting of PyOCI and is ignored{self._nearest(name.upper())}"
            for name, value in sorted(self._environ.items())
            if name.upper().startswith(_OURS) and name not in self._known
            # Kubernetes describes a service called `pyoci` by such variables.
            if not re.search(r"_SERVICE_(HOST|PORT)|_PORT_\d+_", name) and not value.startswith("tcp://")
        )

    def _nearest(self, name: str) -> str:
        plain = name.partition("_")[2]
        near = [plain] if plain in self._known else difflib.get_close_matches(name, self._known, 1)
        return f"; did you mean {near[0]}?" if near else ""


def _log_levels(text: str, *, strict: bool = True) -> tuple[LogLevels, list[str]]:
    default, rooms, odd = "info", dict[str, str](), []
    for part in filter(None, (part.strip() for part in text.split(","))):
        room, equals, level = part.rpartition("=")
        known = _LEVEL_NAMES.get(level.strip().lower())
        if known is None or not (re.fullmatch(r"pyoci([.:]+[a-z]+)*", room.strip()) or not equals):
            odd.append(part[:_SHOWN])
        elif equals:
            rooms[re.sub(r"[:.]+", ".", room.strip()).removeprefix("pyoci").removeprefix(".")] = known
        else:
            default = known
    if odd and strict:
        raise ValueError(
            f"{', '.join(map(repr, odd))} is no level; expected {', '.join(LEVELS)}, or pyoci.oci=debug,info"
        )
    return LogLevels(default, rooms), odd


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
            raise ValueError(
                f"{text[:_SHOWN]!r} is not right; expected a whole number from {least} to {most}"
            )
        return int(text)

    return parse


def _yes_or_no(text: str) -> bool:
    if text.lower() not in {"yes", "no"}:
        raise ValueError(f"{text[:_SHOWN]!r} is not right; expected yes or no")
    return text.lower() == "yes"


def _prefix(text: str) -> str:
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+/?|/+", text) or "/.." in text:
        raise ValueError(f"{text[:_SHOWN]!r} is not a path; expected one like /packages")
    if text.split("/")[1] in RESERVED:
        raise ValueError(f"{text[:_SHOWN]!r} is an address of PyOCI itself; choose another")
    return text.rstrip("/")


def _base_url(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9._:\[\]-]+(?:/[!-~]*)?", text) or re.search("[?#@]", text):
        raise ValueError(
            "this is no base URL; expected one like https://collector.example.com:4318, without credentials"
        )
    return text.rstrip("/")


def _header(text: str) -> str:
    if not re.fullmatch(r"[!-~]+(?: +[!-~]+)*", text):
        raise ValueError("this can't stand in a header; expected all of an Authorization, like Bearer TOKEN")
    return text


def _secret(text: str) -> str:
    """Raises ValueError, which repeats nothing of it."""
    if len(text) < _SECRET_LENGTH or not text.isprintable():
        raise ValueError(
            f"this is no key; expected at least {_SECRET_LENGTH} visible characters, for instance those that "
            "`openssl rand -hex 32` prints"
        )
    return text


def _name(text: str) -> str:
    if not text.isprintable() or len(text) > _NAME_LIMIT:
        raise ValueError(f"this is no name; expected at most {_NAME_LIMIT} visible characters")
    return text


def _username(text: str) -> str:
    if ":" in text or not text.isprintable():
        raise ValueError("this is no user name; expected visible characters without a colon")
    return text


def _path(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise ValueError(
            f"{text[:_SHOWN]!r} is not a directory; expected one, or a path where one can be made"
        )
    return path


def _file(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f"there is no file {text[:_SHOWN]!r}; expected one with lines of user:bcrypt-hash")
    return path


def _bundle(text: str) -> str | None:
    if not Path(text).exists():
        raise ValueError(f"there is no file {text[:_SHOWN]!r}; expected one with certificates")
    return text


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """HTTP_PROXY and HTTPS_PROXY in either case; http_proxy first, as everywhere (CGI sets HTTP_PROXY)."""
    found = {
        scheme: environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY")
        for scheme in ("http", "https")
    }
    return {scheme: proxy for scheme, proxy in found.items() if proxy}
