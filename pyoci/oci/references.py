"""Names in a registry: Registry, Repository, Tag, Digest. Each exists only parsed, and builds its own URLs.

Grammar: OCI distribution specification 1.1, "Pulling manifests"; OCI image specification, "Digests".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlencode

from pyoci.errors import InvalidRequest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
# A host name, an IPv4 address or a bracketed IPv6 address, with a port or without; no user info.
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?::[0-9]{1,5})?")
_HOST_V6 = re.compile(r"\[[0-9a-f:.]+\](?::[0-9]{1,5})?")
_NAME_LIMIT = 255  # OCI distribution 1.1: clients limit host and name together to 255 characters


@dataclass(frozen=True, slots=True)
class Registry:
    """An OCI server. `host` is lower case and carries the port where it isn't the scheme's own.

    `listed` tells that the operator named it, and so vouches for its address.
    """

    scheme: str
    host: str
    listed: bool = False

    @classmethod
    def parse(cls, text: str, *, scheme: str = "https", listed: bool = False) -> Self:
        """Read `host`, `host:port` or an http(s) URL without a path. Raises InvalidRequest."""
        found = re.fullmatch(r"(?:(https?)://)?([^/]*)/?", text.lower())
        if found is None:
            raise InvalidRequest(
                f"{text!r} is not a registry; expected a host, host:port, or http(s)://host:port"
            )
        scheme, host = found[1] or scheme, found[2]
        if not (_HOST.fullmatch(host) or _HOST_V6.fullmatch(host)):
            raise InvalidRequest(f"{host!r} is not a host name; expected host or host:port")
        name, colon, port = host.rpartition(":")
        if colon and port.isdigit():
            if not 0 < int(port) < 65536:
                raise InvalidRequest(f"{port} is not a port; expected 1 to 65535")
            if int(port) == {"https": 443, "http": 80}[scheme]:
                host = name
        return cls(scheme, host, listed)

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    def url(self, path: str, **query: str | int) -> str:
        """The URL of `path` below /v2/."""
        return f"{self.origin}/v2/{path}" + (f"?{urlencode(query)}" if query else "")

    def __str__(self) -> str:
        return self.origin if self.scheme == "http" else self.host


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository in a registry, `acme/hello_world`."""

    registry: Registry
    name: str

    @classmethod
    def parse(cls, registry: Registry, name: str) -> Self:
        """Raises InvalidRequest where `name` doesn't obey the grammar."""
        if not _NAME.fullmatch(name) or len(name) + len(registry.host) >= _NAME_LIMIT:
            raise InvalidRequest(
                f"{name!r} is not a repository name; expected lower case letters and digits,"
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
        """Raises InvalidRequest where `text` doesn't obey the grammar."""
        if not _TAG.fullmatch(text):
            raise InvalidRequest(
                f"{text!r} is not a tag; expected at most 128 letters, digits, . _ and -,"
                " starting with neither . nor -"
            )
        return cls(text)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest of a blob or a document, `sha256:<hex>`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRequest where `text` is no sha256 or sha512 digest."""
        if not _DIGEST.fullmatch(text):
            raise InvalidRequest(
                f"{text[:100]!r} is not a digest; expected sha256:<64 hex> or sha512:<128 hex>"
            )
        algorithm, _, value = text.partition(":")
        return cls(algorithm, value)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


Reference = Tag | Digest


def reference_path(reference: Reference) -> str:
    """The path of the document behind `reference`, below its repository."""
    return f"manifests/{quote(str(reference), safe=':')}"
