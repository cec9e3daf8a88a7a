"""Who may come in: the password file, and the rule for a registry without one."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt

from pyoci.embedded.errors import Refusal
from pyoci.errors import Unauthorized
from pyoci.oci.credentials import Basic, parse_authorization

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_COSTS = range(4, 18)  # 17 takes some eight seconds a check
_PASSWORD_LIMIT = 72  # bytes; bcrypt knows no more, and htpasswd cuts there too
_REMEMBERED_FOR = 60.0  # seconds
_REMEMBERED = 1024  # callers

# Whatever says that the request came through somebody else. Not every proxy says so.
_FORWARDED = re.compile(
    r"HTTP_(FORWARDED|X_FORWARDED(_.*)?|X_ORIGINAL_.*|VIA|X_REAL_IP|X_CLIENT_IP|X_CLUSTER_CLIENT_IP"
    r"|TRUE_CLIENT_IP|CF_CONNECTING_IP)"
)
_REMEDY = "to let others in, set PYOCI_EMBEDDED_HTPASSWD"


class Htpasswd:
    """A file of `user:bcrypt hash` lines, read again whenever it changes.

    Checks that succeeded are remembered for a minute, by a keyed hash: bcrypt takes a tenth of a second, and
    pip sends its credentials with every request. Raises ValueError, which names every mistake and no content.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._guard = threading.Lock()
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._stamp = self._now()
        self._hashes = _read(path)
        self._nobody = _hash_of_nobody(self._hashes)

    def allows(self, username: str, password: str) -> bool:
        """Whether the file knows this user by this password. An unknown user takes as long as a wrong one.

        Raises Refusal where the file has become unreadable: nobody comes in then.
        """
        hashes, nobody = self._current()
        attempt = hmac.new(self._key, f"{username}\0{password}".encode(), "sha256").digest()
        with self._guard:
            if self._remembered.get(attempt, 0.0) > self._clock():
                return True
        known = hashes.get(username)
        matches = bcrypt.checkpw(password.encode()[:_PASSWORD_LIMIT], known or nobody)
        if known is None or not matches:
            return False
        with self._guard:
            if hashes is self._hashes:  # else the file changed while bcrypt worked
                self._remember(attempt)
        return True

    def check(self, authorization: str | None) -> None:
        """Raise Refusal where an Authorization header lets nobody in."""
        try:
            credentials = parse_authorization(authorization)
        except Unauthorized as error:
            raise unauthorized(error.message) from error
        if not isinstance(credentials, Basic):
            raise unauthorized("the embedded registry wants a user name and a password")
        if not self.allows(credentials.username, credentials.password):
            raise unauthorized("the user name or the password is wrong")

    def _current(self) -> tuple[Mapping[str, bytes], bytes]:
        try:
            stamp = self._now()
            with self._guard:
                if stamp == self._stamp:
                    return self._hashes, self._nobody
            hashes = _read(self._path)
            nobody = _hash_of_nobody(hashes)
        except ValueError as error:
            raise Refusal("UNAVAILABLE", "the embedded registry's password file can't be read") from error
        with self._guard:
            self._stamp, self._hashes, self._nobody = stamp, hashes, nobody
            self._remembered.clear()
        return hashes, nobody

    def _now(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise ValueError(f"the password file {self._path} can't be read: {error.strerror}") from error
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def _remember(self, attempt: bytes) -> None:
        self._remembered[attempt] = self._clock() + _REMEMBERED_FOR
        self._remembered.move_to_end(attempt)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)


def unauthorized(message: str) -> Refusal:
    return Refusal("UNAUTHORIZED", message, headers={"WWW-Authenticate": 'Basic realm="pyoci"'})


def at_the_keyboard(environ: WSGIEnvironment) -> str | None:
    """None where a request comes from a program that somebody runs on this machine; else what is in the way.

    A registry without passwords serves nobody else: not the network, not what a reverse proxy passes on, not
    a page in somebody's browser (whose requests tell their origin, or a Host that only DNS rebinding makes).
    """
    if not _is_loopback(environ.get("REMOTE_ADDR", "")):
        return f"the embedded registry serves only its own machine; {_REMEDY}"
    if not _is_loopback_host(environ.get("HTTP_HOST", "")):
        return f"the embedded registry answers only to localhost and 127.0.0.1; {_REMEDY}"
    if any(_FORWARDED.fullmatch(name) for name in environ):
        return f"the embedded registry serves nobody behind a proxy; {_REMEDY}"
    # nginx speaks HTTP/1.0 to what it stands before, by default, and adds none of those headers.
    if environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return f"the embedded registry serves no HTTP/1.0, which proxies speak; {_REMEDY}"
    if not _is_same_site(environ):
        return f"the embedded registry serves no page of another site; {_REMEDY}"
    return None


@lru_cache(maxsize=256)
def _is_loopback(address: str) -> bool:
    """A peer on a Unix socket has no address: whoever connects there is a proxy."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped.is_loopback
    return parsed.is_loopback


def _is_loopback_host(host: str) -> bool:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::\d{1,5})?", host)
    if found is None:
        return False
    name = found[1] or found[2]
    return name.lower() == "localhost" or _is_loopback(name)


def _is_same_site(environ: WSGIEnvironment) -> bool:
    """Pages on another port of this machine are somebody else's too."""
    origin = environ.get("HTTP_ORIGIN")
    own = f"{environ.get('wsgi.url_scheme')}://{environ.get('HTTP_HOST')}"
    return origin in (None, own) and environ.get("HTTP_SEC_FETCH_SITE", "none") in {"none", "same-origin"}


def _read(path: Path) -> Mapping[str, bytes]:
    """The users and their hashes; the first line of a user counts, as in Apache."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"the password file {path} can't be read: expected lines of user:bcrypt hash"
        ) from error
    hashes: dict[str, bytes] = {}
    mistakes = []
    for number, line in enumerate(lines, 1):
        username, _, value = line.strip().partition(":")
        if not username or username.startswith("#"):
            continue
        found = _BCRYPT.fullmatch(value)
        if found is None or int(found[1]) not in _COSTS:
            mistakes.append(
                f"line {number} is not user:bcrypt hash with a cost of 4 to 17; make it with htpasswd -B"
            )
        else:
            hashes.setdefault(username, value.encode())
    if not hashes and not mistakes:
        mistakes.append("it names nobody")
    if mistakes:
        raise ValueError(f"the password file {path}: " + "; ".join(mistakes))
    return hashes


def _hash_of_nobody(hashes: Mapping[str, bytes]) -> bytes:
    """A hash that no password has, as costly as the costliest of the file."""
    cost = max(value[4:6] for value in hashes.values()).decode()
    return f"$2b${cost}$".encode() + b"." * 53
