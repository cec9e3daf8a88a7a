"""find_credentials: the credentials that a user of this machine has for a registry or a server.

Nothing here is ever printed: neither a secret nor what a program or file that has some said about it.
"""

from __future__ import annotations

import netrc as netrc_files
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Thread

from pyoci.errors import InvalidRequest, Unauthorized
from pyoci.library.docker import docker_credentials
from pyoci.oci.credentials import Anonymous, Basic, Credentials
from pyoci.oci.quirks import HUB_HOST

# The variables that scripts set. They are used for whatever host is named.
USERNAME = "PYOCI_USERNAME"
PASSWORD = "PYOCI_PASSWORD"  # noqa: S105  # the variable's name
# The same for a source of a copy, an import or a repair.
SOURCE_USERNAME = "PYOCI_SOURCE_USERNAME"
SOURCE_PASSWORD = "PYOCI_SOURCE_PASSWORD"  # noqa: S105
HELPER_SECONDS = 30.0  # for a credential helper or the keyring to answer


def find_credentials(
    host: str,
    environ: Mapping[str, str],
    *,
    path: str = "",
    netrc: bool = False,
    seconds: float = HELPER_SECONDS,
) -> Credentials:
    """The credentials for a host, with its port if that isn't the usual one; Anonymous if there are none.

    Their hint says which of the sources they come from, and names `pyoci login`.

    The sources are, in this order: PYOCI_USERNAME and PYOCI_PASSWORD; REGISTRY_AUTH_FILE and Docker's
    config.json, with the credential helpers that they name; the keyring, if the package `keyring` is
    installed; and with `netrc` the file ~/.netrc. Raises InvalidRequest if only half of a login is given, and
    Unauthorized if a file or a program that should have the credentials can't be used.
    """
    name = "docker.io" if host == HUB_HOST else host
    command = f"`pyoci login {name}`"
    found = _from_environ(environ)
    if found is not None:
        return replace(found, hint=f"{found.hint}, which comes before what {command} stores")
    found = docker_credentials(host, environ, path=path, seconds=seconds) or _from_keyring(host, seconds)
    if found is None and netrc:
        found = _from_netrc(name, environ)
    if found is None:
        return Anonymous(hint=f"; there is no login for {name}; {command} stores one")
    return replace(found, hint=f"{found.hint}; {command} stores another one")


def source_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a source, which may be at another host than the index: the login of the source
    takes the place of the index's. Raises InvalidRequest for a login that is half given.
    """
    username, password = environ.get(SOURCE_USERNAME, ""), environ.get(SOURCE_PASSWORD, "")
    _check_both({SOURCE_USERNAME: username, SOURCE_PASSWORD: password})
    return {**environ, USERNAME: username, PASSWORD: password}


def _from_environ(environ: Mapping[str, str]) -> Credentials | None:
    username, password = environ.get(USERNAME, ""), environ.get(PASSWORD, "")
    if not username and not password:
        return None
    _check_both({USERNAME: username, PASSWORD: password})
    is_source = (environ.get(SOURCE_USERNAME), environ.get(SOURCE_PASSWORD)) == (username, password)
    names = (SOURCE_USERNAME, SOURCE_PASSWORD) if is_source else (USERNAME, PASSWORD)
    return Basic(username, password, hint=f"; the login came from {' and '.join(names)}")


def _check_both(login: Mapping[str, str]) -> None:
    there = [name for name, value in login.items() if value]
    if len(there) == 1:
        (missing,) = login.keys() - set(there)
        raise InvalidRequest(f"{there[0]} is set without {missing}; expected both")


def _from_keyring(host: str, seconds: float) -> Credentials | None:
    """What the keyring has for the host or its URL. Its backends may ask the user, or hang."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None

    def ask() -> Credentials | None:
        for service in (f"https://{host}/", host):
            try:
                known = keyring.get_credential(service, None)
            except KeyringError:  # there is no backend, or it is locked
                return None
            if known is not None and known.username and known.password:
                return Basic(known.username, known.password, hint="; the login came from the keyring")
        return None

    return _in_time(ask, seconds, "the keyring")


def _in_time(ask: Callable[[], Credentials | None], seconds: float, what: str) -> Credentials | None:
    """The answer of a function that may hang. Its thread is then left behind, as a daemon."""
    found: list[Credentials | None] = []
    failed: list[str] = []

    def run() -> None:
        try:
            found.append(ask())
        except Exception as exc:  # noqa: BLE001  # a backend raises what it likes; its text may have a secret
            failed.append(type(exc).__name__)

    thread = Thread(target=run, name="keyring", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise Unauthorized(f"{what} can't be asked for a password: it failed with {failed[0]}")
    if not found:
        raise Unauthorized(f"{what} did not answer within {seconds:g} seconds; expected a password or none")
    return found[0]


def _from_netrc(name: str, environ: Mapping[str, str]) -> Credentials | None:
    path = Path(environ.get("NETRC") or Path(environ.get("HOME") or "/") / ".netrc")
    try:
        file = netrc_files.netrc(str(path))
    except FileNotFoundError:
        return None
    except (OSError, netrc_files.NetrcParseError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "its format is wrong"
        raise Unauthorized(f"{path} can't be read: {reason}; expected the netrc format") from None
    own = name if name in file.hosts else name.partition(":")[0]
    found = file.authenticators(own)  # or the entry `default`
    if not found or not found[0] or not found[2]:
        return None
    return Basic(found[0], found[2], hint=f"; the login came from {path}")
