"""Names in a registry: Registry, Repository, Tag, Digest. Instances are valid, and build URLs.

Grammar: OCI distribution specification 1.1, "Pulling manifests"; OCI image specification, "Digests".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

from pyoci.errors import InvalidRequest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LISTED_TAG = re.compile(r"[A-Za-z0-9._!+-]{1,128}")
_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
# A host name, an IPv4 address or a bracketed IPv6 address, with a port or without; no user info.
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?::[0-9]{1,5})?")
_HOST_V6 = re.compile(r"\[[0-9a-f:.]+\](?::[0-9]{1,5})?")
_NAME_LIMIT = 255  # OCI distribution 1.1: clients limit host and name together to 255 characters
_PORTS = {"https": 443, "http": 80}
_SHOWN = 100  # characters of a wrong text that a message repeats


@dataclass(frozen=True, slots=True)
class Registry:
    """An OCI server. `host` is in lower case, and includes the port unless it is the scheme's default.

    `listed` means that the operator listed it in PYOCI_REGISTRIES, so any address is allowed.
    """

    scheme: str
    host: str
    listed: bool = False
    alias: str = field(default="", compare=False)  # its name in messages; its address may be internal

    @classmethod
    def parse(cls, text: str, *, scheme: str = "https", listed: bool = False) -> Self:
        """Read `host`, `host:port` or an http(s) URL without a path. Raises InvalidRequest."""
        # lower() turns some non-ASCII letters into ASCII: U+212A, the Kelvin sign, into k.
        found = re.fullmatch(r"(?:(https?)://)?([^/]*)/?", text.lower()) if text.isascii() else None
        if found is None or "@" in text:
            raise InvalidRequest(
                f"{shown(text)} is not a registry; expected a host, host:port, or http(s)://host:port"
            )
        scheme, host = found[1] or scheme, found[2]
        if len(host) >= _NAME_LIMIT or not (_HOST.fullmatch(host) or _is_bracketed_address(host)):
            raise InvalidRequest(f"{shown(host)} is not a host name; expected host or host:port")
        name, port = _split(host)
        if port is not None:
            if not 0 < port < 65536:
                raise InvalidRequest(f"{port} is not a port; expected 1 to 65535")
            host = name if port == _PORTS[scheme] else f"{name}:{port}"
        return cls(scheme, host, listed)

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def hostname(self) -> str:
        """The host without its port."""
        return _split(self.host)[0]

    @property
    def port(self) -> int:
        return _split(self.host)[1] or _PORTS[self.scheme]

    def url(self, path: str, **query: str | int) -> str:
        """The URL of `path` below /v2/."""
        return f"{self.origin}/v2/{path}" + (f"?{urlencode(query)}" if query else "")

    def __str__(self) -> str:
        return self.alias or (self.origin if self.scheme == "http" else self.host)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository in a registry, `acme/hello_world`."""

    registry: Registry
    name: str

    @classmethod
    def parse(cls, registry: Registry, name: str) -> Self:
        """Raises InvalidRequest if `name` doesn't obey the grammar."""
        if not _NAME.fullmatch(name) or len(name) + len(registry.host) >= _NAME_LIMIT:
            raise InvalidRequest(
                f"{shown(name)} is not a repository name; expected lower case letters and digits,"
                f" joined by one of . _ __ - and separated by /, at most {_NAME_LIMIT} characters in all"
            )
        return cls(registry, name)

    def url(self, path: str, **query: str | int) -> str:
        """The URL of `path` below /v2/<name>/."""
        return self.registry.url(f"{self.name}/{path}", **query)

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, at most 128 characters."""

    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRequest if `text` doesn't obey the grammar."""
        if not _TAG.fullmatch(text):
            raise InvalidRequest(
                f"{shown(text)} is not a tag; expected at most 128 letters, digits, . _ and -,"
                " starting with neither . nor -"
            )
        return cls(text)

    @classmethod
    def listed(cls, text: str) -> Self | None:
        """A tag as a registry lists it. zot and go-containerregistry accept `1!3.0` and `1.0+build`, which
        the grammar excludes: such a tag can be read, but other registries may refuse it. None for any other
        text.
        """
        return cls(text) if _LISTED_TAG.fullmatch(text) else None

    @property
    def is_grammatical(self) -> bool:
        return _TAG.fullmatch(self.value) is not None

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest of a blob or a document, `sha256:<hex>`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRequest if `text` is no sha256 or sha512 digest."""
        if not _DIGEST.fullmatch(text):
            raise InvalidRequest(
                f"{shown(text)} is not a digest; expected sha256:<64 hex> or sha512:<128 hex>"
            )
        algorithm, _, value = text.partition(":")
        return cls(algorithm, value)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


Reference = Tag | Digest


def _split(host: str) -> tuple[str, int | None]:
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon and port.isdecimal() and not name.endswith(":") else (host, None)


def _is_bracketed_address(host: str) -> bool:
    if not _HOST_V6.fullmatch(host):
        return False
    try:
        IPv6Address(host[1 : host.index("]")])
    except ValueError:
        return False
    return True


def shown(text: str) -> str:
    """An invalid text for a message: shortened, in ASCII, and replaced if it may contain a password."""
    return "this" if "@" in text else f"{text[:_SHOWN]!a}"


def reference_path(reference: Reference) -> str:
    """The path of the document with `reference`, below its repository. `!` is not percent-encoded: zot
    doesn't decode paths, and would look for another tag.
    """
    return f"manifests/{quote(str(reference), safe=':!+')}"


def operation_of(url: str) -> str:
    """The kind of call that a registry's URL is for: one word for telemetry, independent of the
    repository.
    """
    *_, kind, last = urlsplit(url).path.rstrip("/").split("/")
    if last in {"_catalog", "uploads"}:
        return {"_catalog": "catalog", "uploads": "upload"}[last]
    return {"tags": "tags", "manifests": "manifest", "blobs": "blob"}.get(kind, "")
