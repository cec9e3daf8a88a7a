"""Credentials: the caller's, parsed from the Authorization header. No repr contains secrets.

`hint` is what the message of a 401 adds: where credentials come from, without them. It is empty for those of
a request.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from pyoci.errors import Unauthorized

_SHORTEST = 4  # characters of a secret that is masked
_URL_SAFE = str.maketrans("+/", "-_")


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No credentials."""

    hint: str = field(default="", compare=False, repr=False)

    def header(self) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class Basic:
    """A user name and a password or token (RFC 7617)."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    hint: str = field(default="", compare=False, repr=False)

    def header(self) -> str:
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token that is sent to the registry as it is (RFC 6750)."""

    token: str = field(repr=False)
    hint: str = field(default="", compare=False, repr=False)

    def header(self) -> str:
        return f"Bearer {self.token}"


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """What `docker login` stores for some registries in place of a password: the token server alone gets it,
    and issues tokens for it (OAuth 2.0, grant type `refresh_token`).
    """

    token: str = field(repr=False)
    hint: str = field(default="", compare=False, repr=False)

    def header(self) -> str | None:
        return None


Credentials = Anonymous | Basic | Bearer | IdentityToken


def parse_authorization(header: str | None, bearer_username: str | None = None) -> Credentials:
    """Parse an Authorization header; None and "" mean Anonymous.

    With the user name `bearer_username`, the password is used as a Bearer token: some clients can only send
    Basic. Raises Unauthorized for a header that can't be parsed, which must not be treated as anonymous.
    """
    scheme, _, value = (header or "").strip().partition(" ")
    value = value.strip()
    match scheme.lower():
        case "":
            return Anonymous()
        case "basic":
            return _basic(value, bearer_username)
        case "bearer" if value and _is_token(value):
            return Bearer(value)
    raise Unauthorized("the Authorization header can't be read; expected Basic or Bearer credentials")


def fingerprint(credentials: Credentials, key: bytes) -> str:
    """A keyed hash of `credentials`, for logs and cache keys. Without `key` it reveals nothing."""
    header = (
        f"identity {credentials.token}" if isinstance(credentials, IdentityToken) else credentials.header()
    )
    if header is None:
        return "anonymous"
    return hmac.new(key, header.encode(), "sha256").hexdigest()[:32]


def secrets_of(header: str | None) -> frozenset[str]:
    """The password or token of an Authorization header, in the spellings of URLs, forms and JSON, to be
    masked in texts. Secrets of fewer than four characters are left out, because many words contain them.
    """
    scheme, _, value = (header or "").partition(" ")
    found = {value}
    if scheme == "Basic":
        found.add(base64.b64decode(value).decode().partition(":")[2])
    spelled = {spelling for secret in found for spelling in _spellings(secret)}
    return frozenset(spelling for spelling in spelled if len(spelling) >= _SHORTEST)


def without(secrets: Iterable[str], text: str) -> str:
    """The text with these secrets replaced by asterisks."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, "***")
    return text


def _spellings(secret: str) -> Iterator[str]:
    bare = secret.rstrip("=")
    yield from (secret, bare, bare.translate(_URL_SAFE), json.dumps(secret)[1:-1])
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
    yield base64.b64encode(secret.encode()).decode().rstrip("=")


def _basic(value: str, bearer_username: str | None) -> Credentials:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    try:
        pair = raw.decode()
    except UnicodeDecodeError:
        pair = raw.decode("latin-1")  # the encoding of requests, which pip and twine use
    username, colon, password = pair.partition(":")
    # A password may have several lines: Google's _json_key is a whole JSON file.
    if not colon or not username.isprintable() or "\0" in password:
        raise Unauthorized("the Basic credentials can't be read; expected base64 of user:password")
    if bearer_username and username == bearer_username:
        if not _is_token(password):
            raise Unauthorized("the password is not a token; expected one of visible ASCII characters")
        return Bearer(password)
    return Basic(username, password) if pair != ":" else Anonymous()


def _is_token(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
