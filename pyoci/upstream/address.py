"""UpstreamAddress: the URL and the credentials in PYOCI_UPSTREAM_INDEX and PYOCI_UPSTREAM_AUTH.
FileHosts: the hosts in PYOCI_UPSTREAM_FILE_HOSTS.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

_EXPECTED = "expected the https URL of a simple API, like https://packages.example/simple/"
_EXPECTED_AUTH = "expected user:password, or a whole header: Basic … or Bearer …"
_HEADER = re.compile(r"(Basic|Bearer) +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """`url` is without credentials and ends with a slash; `authorization` is a whole Authorization header."""

    url: str
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, authorization: str | None = None) -> Self:
        """Parse a URL. The credentials are in the URL, or in `authorization` as `authorization_of` parses it.
        Raises ValueError; its message never repeats a possible password.
        """
        parts = _split(url.strip())
        inside = _authorization_in(parts)
        if inside and authorization:
            raise ValueError(
                "the URL contains credentials, and there are separate ones as well; expected one of the two"
            )
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        netloc = host if parts.port is None else f"{host}:{parts.port}"
        path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
        return cls(
            urlunsplit((parts.scheme, netloc, path, "", "")),
            inside or (authorization_of(authorization) if authorization else None),
        )

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: the only origin that credentials are sent to."""
        return origin_of(urlsplit(self.url))

    @property
    def key(self) -> str:
        """The cache key of this upstream. It includes a hash of the credentials, because others may see other
        pages. The hash has sixteen bits: enough to distinguish an operator's credentials, and too few to find
        a password.
        """
        caller = hashlib.blake2b((self.authorization or "").encode(), digest_size=2).hexdigest()
        return f"{self.url}\0{caller}"

    def page_url(self, name: str) -> str:
        """The URL of a project's page, by its normalised name."""
        return f"{self.url}{quote(name, safe='')}/"


@dataclass(frozen=True, slots=True)
class FileHosts:
    """The origins, besides upstream's own and public hosts, that upstream's files may come from."""

    origins: frozenset[tuple[str, str, int]] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a list of hosts, `host:port`, and URLs without a path. Raises ValueError."""
        origins = set()
        for entry in filter(None, (part.strip() for part in text.split(","))):
            parts = _split(entry if "://" in entry else f"https://{entry}")
            if "@" in parts.netloc or parts.path not in {"", "/"}:
                raise ValueError(
                    "an entry has credentials or a path; expected hosts such as files.example,"
                    " files.example:8443 or http://10.0.0.5:8080"
                )
            origins.add(origin_of(parts))
        return cls(frozenset(origins))

    def covers(self, url: str) -> bool:
        """Whether the host of a URL is one of these."""
        return origin_of(urlsplit(url)) in self.origins


def origin_of(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port of a URL. Raises ValueError for an invalid port."""
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"this is no URL; {_EXPECTED}") from None
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise ValueError(f"this is no URL of a package index; {_EXPECTED}")
    if parts.query or parts.fragment:
        raise ValueError(f"the URL has a query or a fragment; {_EXPECTED}")
    return parts


def _authorization_in(parts: SplitResult) -> str | None:
    """The Authorization header for the credentials in the URL."""
    if "@" not in parts.netloc:
        return None
    return _basic(unquote(parts.username or ""), unquote(parts.password or ""))


def authorization_of(text: str) -> str:
    """The Authorization header for `user:password`. A whole header (`Basic …` or `Bearer …`) is returned as
    it is. Raises ValueError.
    """
    text = text.strip()
    found = _HEADER.fullmatch(text)
    if found:
        return f"{found[1].capitalize()} {found[2]}"
    user, colon, password = text.partition(":")
    if not colon:
        raise ValueError(f"these are no credentials; {_EXPECTED_AUTH}")
    return _basic(user, password)


def _basic(user: str, password: str) -> str:
    if not (user + password).isprintable() or not user + password:
        raise ValueError(f"these are no credentials; {_EXPECTED_AUTH}")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
