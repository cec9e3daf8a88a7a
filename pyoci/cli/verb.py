"""verb: makes a click command of a function: its help, the options that all verbs share, and the indexes.

`docs/design.rst` shows how a verb's module looks.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyoci.cli.output import Output
from pyoci.cli.schema import Schema

if TYPE_CHECKING:
    from pyoci.cli.audit import AuditLog
    from pyoci.library import Basic, Index

DIRECTORY = "pyoci-data"  # of the embedded registry, if PYOCI_EMBEDDED names no other
_PASSWORD_LIMIT = 64 * 1024  # characters
_LOGIN = (
    click.Option(["--username"], metavar="NAME", help="The user name; needs --password-stdin."),
    click.Option(["--password-stdin"], is_flag=True, help="Read the password or token from stdin."),
    click.Option(["--netrc"], is_flag=True, help="Also look for the password in ~/.netrc."),
)
_AUDIT = click.Option(
    ["--audit"],
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Append a line of JSON to FILE for each change.",
)
_JSON = click.Option(["as_json", "--json"], is_flag=True, help="Print one JSON document.")

Function = Callable[..., int | None]


class Verb(click.Command):
    """A verb, with its examples and the schema of its JSON document, for docs/command.rst."""

    def __init__(self, examples: Sequence[str], document: Schema | None, **settings: Any) -> None:
        super().__init__(**settings)
        self.examples = examples
        self.document = document

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"  {example}\n")  # not wrapped: it can be pasted


def verb(
    *,
    examples: Sequence[str],
    document: Schema | None = None,
    indexes: Sequence[str] = (),
    creates: bool = False,
    takes_netrc: bool = False,
    changes: bool = False,
) -> Callable[[Function], Verb]:
    """Make a command of a function. Its docstring is the help, its click decorators are the parameters.

    `indexes` names arguments that come first: each is an address, and the function gets the opened Index. Of
    two, the first is a source and the second a target, which the login is for. `creates`: the last one may be
    a folder that isn't there yet. `takes_netrc`: the function opens another index itself, and gets `netrc`,
    which says whether --netrc was given. A verb that `changes` something has --audit, one with a `document`
    has --json. The function gets an Output, and returns the exit code; None is 0.
    """

    def decorate(function: Function) -> Verb:
        declared: list[click.Parameter] = list(reversed(getattr(function, "__click_params__", [])))

        def run(**options: Any) -> int | None:
            with ExitStack() as opened:
                path = options.pop("audit", None)
                audit = None if path is None else opened.enter_context(closing(_audit_log(path)))
                output = Output(as_json=options.pop("as_json", False), audit=audit)
                more = {"netrc": options["netrc"]} if takes_netrc else {}
                if indexes:
                    _open_all(indexes, options, opened, create=creates)
                return function(output, **options, **more)

        return Verb(
            examples,
            document,
            name=_name(function),
            callback=run,
            help=inspect.cleandoc(function.__doc__ or ""),
            params=[
                *(click.Argument([name]) for name in indexes),
                *declared,
                *((_AUDIT,) if changes else ()),
                *(_LOGIN if indexes else ()),
                *((_JSON,) if document else ()),
            ],
        )

    return decorate


def _audit_log(path: Path) -> AuditLog:
    from pyoci.cli.audit import AuditLog

    return AuditLog(path)


def _name(function: Function) -> str:
    """The name of a verb: that of its module, or of its function where the module has several."""
    name: str = function.__name__
    return function.__module__.rpartition(".")[2].rstrip("_") if name == "command" else name


def environment() -> Mapping[str, str]:
    """os.environ, in which PYOCI_EMBEDDED is the directory of `pyoci serve` if that is here."""
    return {"PYOCI_EMBEDDED": DIRECTORY, **os.environ} if Path(DIRECTORY).is_dir() else os.environ


def can_ask() -> bool:
    """Whether somebody at a terminal can answer a question. A program may start us with stdin closed."""
    return sys.stdin is not None and sys.stdin.isatty()


def _open_all(names: Sequence[str], options: dict[str, Any], opened: ExitStack, *, create: bool) -> None:
    """Replace the addresses among the options by indexes, which are closed with `opened`."""
    from pyoci.library import open_index  # takes a third of a second, which `pyoci serve` doesn't need

    login = given_login(options.pop("username"), options.pop("password_stdin"))
    netrc, environ = options.pop("netrc"), environment()
    for name in names[:-1]:
        options[name] = opened.enter_context(open_source(options[name], netrc=netrc))
    index = open_index(options[names[-1]], login, netrc=netrc, environ=environ, create=create)
    options[names[-1]] = opened.enter_context(index)


def open_source(address: str, *, netrc: bool = False) -> Index:
    """Open an index that is read beside the verb's own one. It may be at another host, so it doesn't get the
    login of the other: PYOCI_SOURCE_USERNAME and PYOCI_SOURCE_PASSWORD are for it, or what is stored for its
    host.
    """
    from pyoci.library import open_index

    return open_index(address, netrc=netrc, environ=source_environment())


def source_environment() -> Mapping[str, str]:
    """The environment for a source, with the login that is meant for it alone."""
    from pyoci.library.credentials import source_environ

    return source_environ(environment())


def given_login(username: str | None, password_stdin: bool) -> Basic | None:
    """The login that --username and --password-stdin give; None without them."""
    from pyoci.library import Basic

    if username is None and not password_stdin:
        return None
    if username is None or not password_stdin:
        raise click.UsageError("--username and --password-stdin need each other; expected both or neither")
    try:
        password = "" if sys.stdin is None else sys.stdin.read(_PASSWORD_LIMIT).rstrip("\r\n")
        password.encode()  # not in a locale of ASCII, where Python reads other bytes as surrogates
    except UnicodeError:
        raise click.UsageError("--password-stdin found no text on stdin; expected UTF-8") from None
    if not password:
        raise click.UsageError("--password-stdin found nothing on stdin; expected a password or token")
    return Basic(username, password, hint="; the login came from --username and --password-stdin")
