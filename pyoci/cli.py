"""The `pyoci` command."""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pyoci
from pyoci.config import Settings, WrongSettings
from pyoci.embedded import gc

_WELCOME = """\
PyOCI {version}: packages are kept in {directory}

  Package index   {url}

  Install         pip install --index-url {url} PACKAGE
                  uv pip install --default-index {url} PACKAGE
  Publish         twine upload --repository-url {url} -u me -p open dist/*
                  uv publish --publish-url {url} -u me -p open dist/*
  Found there     what you publish; PYOCI_UPSTREAM_INDEX adds PyPI's packages
  Largest upload  {limit:g} MB, unless PYOCI_MAX_BODY sets another limit (in bytes)

{note}
"""
_OPEN = "Nobody but this machine is served: PYOCI_EMBEDDED_HTPASSWD lets others in. Ctrl-C stops."
_CLOSED = "Use a name and password from {htpasswd} in place of `me` and `open`. Ctrl-C stops."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="pyoci", description=pyoci.__doc__)
    parser.add_argument("--version", action="version", version=f"pyoci {pyoci.__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("serve", help="serve a package index, with the embedded registry in ./pyoci-data")
    collect = verbs.add_parser("gc", help="remove what nothing refers to from the embedded registry")
    collect.add_argument("directory", nargs="?", type=Path, help="default: PYOCI_EMBEDDED, or ./pyoci-data")
    chosen = parser.parse_args(arguments)
    try:
        return _serve() if chosen.verb == "serve" else _gc(chosen.directory)
    except WrongSettings as exc:
        print(exc, file=sys.stderr)  # noqa: T201  # the command talks to a person
        return 2


def _serve() -> int:
    """Become gunicorn, with settings that make sense at a desk."""
    environ = {"PYOCI_EMBEDDED": "pyoci-data", **os.environ}
    settings = Settings.from_environ(environ)
    _see_whether_free(settings.port)
    name = settings.short_urls.name_in("local") or "local/main"
    url = f"http://localhost:{settings.port}{settings.path}/{name}/"
    htpasswd = settings.embedded_htpasswd
    note = _OPEN if htpasswd is None else _CLOSED.format(htpasswd=htpasswd)
    welcome = _WELCOME.format(
        version=pyoci.__version__,
        directory=settings.embedded,
        url=url,
        limit=settings.max_body / 1_000_000,
        note=note,
    )
    print(welcome, flush=True)  # noqa: T201  # the command talks to a person
    command = [sys.executable, "-m", "gunicorn", "-c", "python:pyoci.server", "pyoci.server:application()"]
    os.execve(sys.executable, command, environ)  # noqa: S606  # no shell is wanted


def _see_whether_free(port: int) -> None:
    """Raises WrongSettings where gunicorn would knock five times, and give up."""
    ipv6 = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=ipv6).close()
    except OSError as exc:
        reason = "another program listens there" if exc.errno == errno.EADDRINUSE else exc.strerror
        raise WrongSettings(f"PORT: {port} can't be used, {reason}; expected a port that is free") from exc


def _gc(directory: Path | None) -> int:
    settings = Settings.from_environ(os.environ)
    directory = directory or settings.embedded or Path("pyoci-data")
    if not directory.is_dir():
        raise WrongSettings(f"there is no directory {directory}")
    done = gc(directory, older_than=timedelta(hours=1))
    counts = f"{done.manifests} manifests, {done.blobs} blobs, {done.uploads} unfinished uploads"
    print(f"removed {counts}: {done.freed} bytes")  # noqa: T201  # the command talks to a person
    for problem in done.problems:
        print(f"left alone: {problem}", file=sys.stderr)  # noqa: T201
    return 1 if done.problems else 0
