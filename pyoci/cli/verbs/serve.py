"""`pyoci serve`: a package index for one developer's machine."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

import click

import pyoci
from pyoci.cli.output import Output
from pyoci.cli.verb import DIRECTORY, verb
from pyoci.config import Settings, WrongSettings

_WELCOME = """\
PyOCI {version}: packages are stored in {directory}

  Package index   {url}

  Install         pip install --index-url {install_url} PACKAGE
                  uv pip install --default-index {install_url} PACKAGE
  Publish         twine upload --repository-url {url} -u {user} -p {password} dist/*
                  uv publish --publish-url {url} -u {user} -p {password} dist/*
  Available       {found}
  Largest upload  {limit:g} MB, unless PYOCI_MAX_BODY sets another limit (in bytes)

{note}
"""
_OPEN = "Only this machine has access; set PYOCI_EMBEDDED_HTPASSWD to let others in. Ctrl-C stops the server."
_LENT = (
    "Only this machine has access. Requests without credentials get the logins that you have stored for\n"
    "registries: every local user may use them while this server runs. Ctrl-C stops the server."
)
_CLOSED = "USER and PASSWORD stand for an account from {htpasswd}. Ctrl-C stops the server."


@verb(
    examples=(
        "pyoci serve",
        "PORT=9000 PYOCI_EMBEDDED=/srv/packages pyoci serve",
        "pyoci serve --docker-credentials",
    )
)
@click.option(
    "--docker-credentials",
    is_flag=True,
    help="Listen on 127.0.0.1 only, and use your stored logins for requests without credentials.",
)
def command(output: Output, docker_credentials: bool) -> None:
    """Serve a package index, with the embedded registry in ./pyoci-data.

    The settings are environment variables: PORT is the port (8080), PYOCI_EMBEDDED the directory.
    --docker-credentials is for your own machine: http://127.0.0.1:8080/ghcr.io/acme/ then needs no password,
    because requests without one use the login that `docker login ghcr.io` stored. While the server runs,
    every local user can use your logins through it.
    """
    # This process is replaced by gunicorn.
    environ = {"PYOCI_EMBEDDED": DIRECTORY, **os.environ}
    settings = Settings.from_environ(environ)
    _check_that_port_is_free(settings.port, "127.0.0.1" if docker_credentials else "")
    output.text(_welcome(settings, docker_credentials))
    # gunicorn imports from the current directory first. A clone named `pyoci` in it would hide an editable
    # installation, unless that is on PYTHONPATH.
    home = str(Path(pyoci.__file__).parent.parent)
    if home not in sys.path:
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "gunicorn", "-c", "python:pyoci.server"]
    if docker_credentials:
        command += [
            "--bind",
            f"127.0.0.1:{settings.port}",
            "pyoci.server:application(docker_credentials=True)",
        ]
    else:
        command.append("pyoci.server:application()")
    os.execve(sys.executable, command, environ)  # noqa: S606  # no shell is wanted


def _welcome(settings: Settings, lent: bool = False) -> str:
    """The welcome text: the address of the package index, and commands to paste that use it."""
    name = settings.short_urls.name_in("local") or "local/main"
    place = f"localhost:{settings.port}{settings.path}/{name}/"
    htpasswd, upstream = settings.embedded_htpasswd, settings.upstream
    return _WELCOME.format(
        version=pyoci.__version__,
        directory=settings.embedded,
        url=f"http://{place}",
        install_url=f"http://{place}" if htpasswd is None else f"http://USER:PASSWORD@{place}",
        user="me" if htpasswd is None else "USER",
        password="open" if htpasswd is None else "PASSWORD",
        found=(
            "what you publish; PYOCI_UPSTREAM_INDEX adds PyPI's packages"
            if upstream is None
            else f"what you publish, and the packages of {upstream.url}"
        ),
        limit=settings.max_body / 1_000_000,
        note=_LENT if lent else _OPEN if htpasswd is None else _CLOSED.format(htpasswd=htpasswd),
    )


def _check_that_port_is_free(port: int, address: str = "") -> None:
    """Raises WrongSettings if the port is taken: gunicorn would try five times, and then exit."""
    ipv6 = socket.has_dualstack_ipv6() and not address
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    try:
        socket.create_server((address, port), family=family, dualstack_ipv6=ipv6).close()
    except OSError as exc:
        reason = "another program is listening on it" if exc.errno == errno.EADDRINUSE else exc.strerror
        raise WrongSettings(f"PORT: {port} can't be used: {reason}; expected a free port") from exc
