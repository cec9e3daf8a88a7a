"""Who has access: the password file, and the rule for a registry without one."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
from cachetools import TTLCache

from pyoci.embedded.errors import Refusal
from pyoci.embedded.storage import FileStamp, file_stamp
from pyoci.errors import Unauthorized
from pyoci.oci.credentials import Basic, parse_authorization

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_COSTS = range(4, 18)  # a check at cost 17 takes some eight seconds
_PASSWORD_LIMIT = 72  # bytes; bcrypt uses no more, and htpasswd cuts there too
_ACCEPTED_FOR = 60.0  # seconds
_ACCEPTED_LIMIT = 1024  # pairs of user and password

# Headers by which proxies name the original client. Not every proxy sends one.
_FORWARDED = re.compile(
    r"HTTP_(FORWARDED|X_FORWARDED(_.*)?|X_ORIGINAL_.*|VIA|X_REAL_IP|X_CLIENT_IP|X_CLUSTER_CLIENT_IP"
    r"|TRUE_CLIENT_IP|CF_CONNECTING_IP)"
)
_REMEDY = "to give others access, set PYOCI_EMBEDDED_HTPASSWD"


class Htpasswd:
    """A file of `user:bcrypt hash` lines, read again whenever it changes.

    A successful check is cached for a minute under a keyed hash: bcrypt takes a tenth of a second, and pip
    sends its credentials with every request. Raises ValueError, which lists every mistake without the file's
    content.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        check: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
    ) -> None:
        self._path = path
        self._check = check
        self._key = secrets.token_bytes(32)
        self._guard = threading.Lock()
        self._accepted: TTLCache[bytes, bool] = TTLCache(_ACCEPTED_LIMIT, _ACCEPTED_FOR, timer=clock)
        self._stamp = self._read_stamp()
        self._hashes = _read(path)
        self._dummy = _dummy_hash(self._hashes)

    def allows(self, username: str, password: str) -> bool:
        """Whether the file has this user with this password. An unknown user takes as long as a known one.

        Raises Refusal if the file has become unreadable.
        """
        hashes, dummy = self._current()
        attempt = hmac.new(self._key, f"{username}\0{password}".encode(), "sha256").digest()
        with self._guard:
            if attempt in self._accepted:
                return True
        known = hashes.get(username)
        matches = self._check(password.encode()[:_PASSWORD_LIMIT], known or dummy)
        if known is None or not matches:
            return False
        with self._guard:
            if hashes is self._hashes:  # else the file changed while bcrypt worked
                self._accepted[attempt] = True
        return True

    def check(self, authorization: str | None) -> None:
        """Raises Refusal if an Authorization header gives no access."""
        try:
            credentials = parse_authorization(authorization)
        except Unauthorized as error:
            raise _unauthorized(error.message) from error
        if not isinstance(credentials, Basic):
            raise _unauthorized("the embedded registry requires a user name and a password")
        if not self.allows(credentials.username, credentials.password):
            raise _unauthorized("the user name or the password is wrong")

    def _current(self) -> tuple[Mapping[str, bytes], bytes]:
        try:
            stamp = self._read_stamp()
            with self._guard:
                if stamp == self._stamp:
                    return self._hashes, self._dummy
            hashes = _read(self._path)
            dummy = _dummy_hash(hashes)
        except ValueError as error:
            raise Refusal("UNAVAILABLE", "the embedded registry's password file can't be read") from error
        with self._guard:
            self._stamp, self._hashes, self._dummy = stamp, hashes, dummy
            self._accepted.clear()
        return hashes, dummy

    def _read_stamp(self) -> FileStamp:
        try:
            return file_stamp(self._path)
        except OSError as error:
            raise ValueError(f"the password file {self._path} can't be read: {error.strerror}") from error


def _unauthorized(message: str) -> Refusal:
    return Refusal("UNAUTHORIZED", message, headers={"WWW-Authenticate": 'Basic realm="pyoci"'})


def refusal_for_remote_peer(environ: WSGIEnvironment) -> str | None:
    """Why a registry without passwords refuses a request; None for a request of a program on this machine.

    It serves neither the network, nor a reverse proxy, nor a web page in a browser: such a request has an
    Origin, or a Host that only DNS rebinding produces.
    """
    if not _is_loopback(environ.get("REMOTE_ADDR", "")):
        return f"the embedded registry serves only its own machine; {_REMEDY}"
    if not _is_loopback_host(environ.get("HTTP_HOST", "")):
        return f"the embedded registry answers only to localhost and 127.0.0.1; {_REMEDY}"
    if any(_FORWARDED.fullmatch(name) for name in environ):
        return f"the embedded registry serves no requests from a proxy; {_REMEDY}"
    # nginx by default sends HTTP/1.0 to its upstream server, and none of these headers.
    if environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return f"the embedded registry serves no HTTP/1.0, which proxies send; {_REMEDY}"
    if not _is_same_site(environ):
        return f"the embedded registry serves no page of another site; {_REMEDY}"
    return None


@lru_cache(maxsize=256)
def _is_loopback(address: str) -> bool:
    """Whether a peer's address is a loopback address. A peer on a Unix socket has none, and is a proxy."""
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
    """Whether the request doesn't come from a page of another site, such as another port of this machine."""
    origin = environ.get("HTTP_ORIGIN")
    own = f"{environ.get('wsgi.url_scheme')}://{environ.get('HTTP_HOST')}"
    return origin in (None, own) and environ.get("HTTP_SEC_FETCH_SITE", "none") in {"none", "same-origin"}


def _read(path: Path) -> Mapping[str, bytes]:
    """The users and their hashes; the first line of a user is used, as in Apache."""
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
        mistakes.append("it has no users")
    if mistakes:
        raise ValueError(f"the password file {path}: " + "; ".join(mistakes))
    return hashes


def _dummy_hash(hashes: Mapping[str, bytes]) -> bytes:
    """A hash that no password matches, of the highest cost in the file."""
    cost = max(value[4:6] for value in hashes.values()).decode()
    return f"$2b${cost}$".encode() + b"." * 53
