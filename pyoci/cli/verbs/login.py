"""`pyoci login` and `pyoci logout`: which servers may get a registry's login, and the login itself."""

from __future__ import annotations

import os
import sys

import click

from pyoci.cli import schema
from pyoci.cli.output import Output
from pyoci.cli.verb import given_login, verb
from pyoci.library import logins

_LOGGED_IN = schema.record(
    server=schema.nullable(schema.text("What is listed: indexes below this URL may get the login.")),
    registry=schema.text("The host of the registry."),
    stored=schema.nullable(schema.text("What has the new login; null if there was one, or none is wanted.")),
)
_LOGGED_OUT = schema.record(
    servers=schema.listed("The URLs that were listed.", schema.text("A URL.")),
    registry=schema.nullable(schema.text("The host whose login was erased; null for a URL.")),
)
_NO_PASSWORD = "no login for {registry} is stored; expected --username and --password-stdin, or a terminal"  # noqa: S105  # a sentence


@verb(
    examples=(
        "pyoci login https://pypi.example.com/ghcr.io/acme/",
        "pyoci login https://pypi.example.com/tools/ --registry ghcr.io",
        "pyoci login ghcr.io",
    ),
    document=_LOGGED_IN,
)
@click.argument("address", metavar="URL|REGISTRY")
@click.option("--registry", metavar="HOST", help="The registry of a URL that doesn't contain its host.")
@click.option("--username", metavar="NAME", help="The user name; needs --password-stdin.")
@click.option("--password-stdin", is_flag=True, help="Read the password or token from stdin.")
def login(
    output: Output, address: str, registry: str | None, username: str | None, password_stdin: bool
) -> None:
    """List the server at URL: pip, uv, twine and poetry then get the login for its registry from keyring.

    Install keyring and PyOCI in one environment; its `keyring` has to be the first on PATH. A server that
    isn't listed gets no login. If no login for the registry is stored, the command prompts for one. It stores
    it in the same place as `docker login`: in the credential helper that Docker's configuration names, or in
    that file. With REGISTRY, the command only stores the login, and lists no server.
    """
    given = given_login(username, password_stdin)
    wanted = logins.parse_login(address, registry)
    stored = None
    if given is not None or not logins.has_login(wanted, os.environ):
        stored = logins.store(wanted.registry, given or _asked(wanted.registry), os.environ)
    server = wanted.server
    if server is not None:
        logins.list_server(server, os.environ)
    document = {"server": server and server.url, "registry": wanted.registry, "stored": stored}

    def for_people() -> None:
        if stored is None:
            output.line(f"a login for {wanted.registry} is stored already")
        else:
            output.line(f"the login for {wanted.registry} is stored in {stored}")
        if server is not None:
            output.line(f"indexes below {server.url} may get it from keyring")

    if server is not None and server.is_unencrypted:
        output.note(f"{server.url} is plain http: whoever is on the way to it can read the login")
    output.show(document, for_people)


@verb(
    examples=("pyoci logout https://pypi.example.com/ghcr.io/acme/", "pyoci logout ghcr.io"),
    document=_LOGGED_OUT,
)
@click.argument("address", metavar="URL|REGISTRY")
def logout(output: Output, address: str) -> int:
    """Remove the server at URL from the list, or erase the stored login for REGISTRY.

    Removing a server from the list keeps the stored login. The exit code is 4 if there is nothing to remove.
    """
    servers, registry = logins.remove(address, os.environ)
    document = {"servers": [each.url for each in servers], "registry": registry}

    def for_people() -> None:
        output.lines(f"{each.url} gets no login any more" for each in servers)
        if registry is not None:
            output.line(f"the login for {registry} is erased")

    if not servers and registry is None:
        output.note(f"there is nothing stored for {address}; expected what `pyoci login` was called with")
    output.show(document, for_people)
    return 0 if servers or registry else 4


def _asked(registry: str) -> logins.Basic:
    """The user name and the password or token, from the terminal."""
    if not sys.stdin.isatty():
        raise click.UsageError(_NO_PASSWORD.format(registry=registry))
    username = click.prompt(f"User name for {registry}", err=True)
    password = click.prompt(f"Password or token for {registry}", hide_input=True, err=True)
    return logins.Basic(username, password)
