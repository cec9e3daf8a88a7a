"""What `pyoci login` and `pyoci logout` do: logins in Docker's own store, and the list of servers.

Clients get a stored login for a listed server through keyring; see keyring_backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pyoci.errors import InvalidRequest
from pyoci.library.credentials import HELPER_SECONDS
from pyoci.library.docker import docker_credentials, erase_login, store_login
from pyoci.library.listed_servers import (
    ListedServer,
    list_server,
    listed_server,
    registry_host,
    unlist_server,
)
from pyoci.oci.credentials import Basic
from pyoci.oci.references import shown

__all__ = ["Basic", "ListedServer", "Login", "has_login", "list_server", "parse_login", "remove", "store"]

_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Login:
    """What the user wants to log in to: a registry, for one namespace or all; and a server, or None."""

    registry: str
    namespace: str = ""
    server: ListedServer | None = None


def parse_login(address: str, registry: str | None = None) -> Login:
    """What an address means: the URL of an index at a PyOCI server, or a registry's host with or without a
    namespace. Raises InvalidRequest.
    """
    if _URL.match(address):
        server = listed_server(address, registry)
        return Login(server.registry, server.namespace_in(address) or "", server)
    if "@" in address:
        raise InvalidRequest("the address has an @; expected a URL or the host of a registry")
    if registry is not None:
        raise InvalidRequest(f"{shown(address)} is not a URL; --registry is for the URL of a PyOCI server")
    host, _, namespace = address.partition("/")
    return Login(registry_host(host), namespace.strip("/"))


def has_login(wanted: Login, environ: Mapping[str, str]) -> bool:
    """Whether Docker's store has a login for it. Raises Unauthorized if it can't be read."""
    found = docker_credentials(wanted.registry, environ, path=wanted.namespace, seconds=HELPER_SECONDS)
    return found is not None


def store(registry: str, login: Basic, environ: Mapping[str, str]) -> str:
    """Store a login where `docker login` would; returns what has it now. Raises Unauthorized and
    InvalidRequest.
    """
    if not login.username.isprintable() or ":" in login.username or login.username == "<token>":
        raise InvalidRequest(f"{shown(login.username)} is not a user name; expected one without a colon")
    if "\0" in login.password:
        raise InvalidRequest("the password has a NUL character; expected a password or token")
    return store_login(registry, login, environ, seconds=HELPER_SECONDS)


def remove(address: str, environ: Mapping[str, str]) -> tuple[tuple[ListedServer, ...], str | None]:
    """Take a URL off the list of servers, or erase the login for a registry: what was listed, or the host
    whose login was stored. Raises InvalidRequest and Unauthorized.
    """
    if _URL.match(address):
        return unlist_server(address, environ), None
    host = parse_login(address).registry
    return (), host if erase_login(host, environ, seconds=HELPER_SECONDS) else None
