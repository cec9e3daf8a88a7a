"""find_credentials: the credentials that a user of this machine has for a registry or a server."""

from __future__ import annotations

from collections.abc import Mapping

from pyoci.errors import InvalidRequest
from pyoci.oci.credentials import Anonymous, Basic, Credentials

# The variables that scripts set. They are used for whatever host is named.
USERNAME = "PYOCI_USERNAME"
PASSWORD = "PYOCI_PASSWORD"  # noqa: S105  # the variable's name


def find_credentials(host: str, environ: Mapping[str, str], *, netrc: bool = False) -> Credentials:
    """The credentials for a host, with its port if that isn't the usual one; Anonymous where there are none.

    These are asked in turn: PYOCI_USERNAME and PYOCI_PASSWORD. Raises InvalidRequest.
    """
    return _from_environ(environ) or Anonymous()


def _from_environ(environ: Mapping[str, str]) -> Credentials | None:
    username, password = environ.get(USERNAME, ""), environ.get(PASSWORD, "")
    if not username and not password:
        return None
    if not username or not password:
        missing, there = (USERNAME, PASSWORD) if not username else (PASSWORD, USERNAME)
        raise InvalidRequest(f"{there} is set without {missing}; expected both")
    return Basic(username, password)
