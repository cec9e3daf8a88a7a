"""PyOCIKeyring: the backend of `keyring` from which pip, uv, twine and poetry get a registry's login.

They ask keyring for the URL of an index. For one at a server that the user has listed with `pyoci login`,
the answer is what `docker login` stored for the registry; for anything else there is none. The backend never
asks keyring itself. It is an entry point of this distribution, so it has to be installed beside keyring.
"""

from __future__ import annotations

import logging
import os
from urllib.parse import urlsplit

from keyring.backend import KeyringBackend
from keyring.credentials import SimpleCredential
from keyring.errors import PasswordDeleteError, PasswordSetError

from pyoci.errors import PyOCIError
from pyoci.library.credentials import HELPER_SECONDS
from pyoci.library.docker import docker_credentials
from pyoci.library.listed_servers import find_server
from pyoci.oci.credentials import Basic

_LOG = logging.getLogger("pyoci")  # on stderr, in a program that has configured no logging
_READ_ONLY = "PyOCI's keyring only reads; `pyoci login` stores passwords"


class _NotSet(PasswordSetError, NotImplementedError):
    """The user's other keyrings are then asked to store it."""


class _NotDeleted(PasswordDeleteError, NotImplementedError):
    """The user's other keyrings are then asked to delete it."""


class PyOCIKeyring(KeyringBackend):
    """The logins of Docker's configuration, for listed servers alone."""

    # Before the desktop's keyrings, which may ask the user to unlock them.
    priority = 9

    def get_credential(self, service: str, username: str | None) -> SimpleCredential | None:
        """The login for an index, if it has this user name or none is given."""
        try:
            found = _login(service)
        except PyOCIError as exc:
            _LOG.warning("pyoci: %s", exc.message)
            return None
        if found is None or (username or _user_in(service)) not in {None, found.username}:
            return None
        return SimpleCredential(found.username, found.password)

    def get_password(self, service: str, username: str | None) -> str | None:
        """The password of a user, for an index."""
        found = self.get_credential(service, username)
        return None if found is None else str(found.password)

    def set_password(self, service: str, username: str, password: str) -> None:
        raise _NotSet(_READ_ONLY)

    def delete_password(self, service: str, username: str) -> None:
        raise _NotDeleted(_READ_ONLY)


def _login(url: str) -> Basic | None:
    listed = find_server(url, os.environ)
    if listed is None:
        return None
    server, namespace = listed
    found = docker_credentials(server.registry, os.environ, path=namespace, seconds=HELPER_SECONDS)
    if found is not None and not isinstance(found, Basic):
        _LOG.warning("pyoci: the login for %s is an identity token; clients need a password", server.registry)
        return None
    return found


def _user_in(url: str) -> str | None:
    return urlsplit(url).username or None
