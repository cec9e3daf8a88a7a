"""main: finds the verb, runs it, and turns whatever goes wrong into one sentence and an exit code."""

from __future__ import annotations

import keyword
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

import pyoci
from pyoci import errors

# The verbs in the order of the help, with its line for each: the help imports no verb.
VERBS = {
    "list": "List the projects of an index, or the versions of a project.",
    "show": "Show a project or a version with its files.",
    "explain": "List the files of a project that a server serves or withholds, and why.",
    "search": "Search an index for projects.",
    "publish": "Publish wheels and sdists.",
    "download": "Download the files of projects, verified.",
    "yank": "Yank versions or files: clients ignore them.",
    "unyank": "End the yank of versions or files.",
    "delete": "Delete versions or files permanently.",
    "status": "Show or set the status of a project: archived, quarantined.",
    "import": "Import files from another package index, or from a folder.",
    "mirror": "Copy the files in a lock file from PyPI, to serve them without PyPI.",
    "copy": "Copy projects between registries, or to and from a folder.",
    "prune": "Delete old versions by rules.",
    "check": "Check for missing documents and files, and repair them.",
    "doctor": "Test what a registry supports, and what that means for PyOCI.",
    "login": "List a PyOCI server, and store the login for its registry.",
    "logout": "Remove a server from the list, or erase the login for a registry.",
    "config": "Print or write a client's configuration for an index.",
    "serve": "Serve a package index, with the embedded registry.",
    "gc": "Remove unreferenced data from the embedded registry.",
}
# The modules that have several verbs. Any other verb is the `command` of the module of its name.
_TOGETHER = {
    "yank": "changing",
    "unyank": "changing",
    "delete": "changing",
    "login": "login",
    "logout": "login",
}
# Exit codes. docs/command.rst describes them.
DONE, FAILED, WRONG_USAGE, NOT_ALLOWED, NOT_THERE, INTERRUPTED = 0, 1, 2, 3, 4, 130
_PATIENCE = 3.0  # seconds that threads have to end after Ctrl-C
_CODES: dict[type[Exception], int] = {
    errors.InvalidRequest: WRONG_USAGE,
    errors.Unauthorized: NOT_ALLOWED,
    errors.Denied: NOT_ALLOWED,
    errors.NotFound: NOT_THERE,
}
_EPILOG = """\
INDEX is a registry and a namespace (ghcr.io/acme), a name that PYOCI_INDEXES gives to them, or the URL of a
PyOCI server. `pyoci VERB --help` has examples.

Exit codes: 0 done, 1 something failed, 2 wrong usage, 3 not allowed, 4 not there, 130 interrupted.
"""


class Verbs(click.Group):
    """A group that imports the module of a verb when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        if name in _TOGETHER:
            command = getattr(import_module(f"pyoci.cli.verbs.{_TOGETHER[name]}"), name)
        else:
            command = import_module(f"pyoci.cli.verbs.{_module_of(name)}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"there is no verb {args[0][:80]!r}; expected one of {', '.join(VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


command = Verbs(
    name="pyoci",
    help=pyoci.__doc__,
    epilog=_EPILOG,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            help="Show the version and exit.",
            callback=lambda ctx, _parameter, given: _show_version(ctx) if given else None,
        )
    ],
    subcommand_metavar="VERB [ARGUMENTS]...",
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _module_of(verb: str) -> str:
    """The module of a verb; a keyword can't be the name of one."""
    return f"{verb}_" if keyword.iskeyword(verb) else verb


def _show_version(ctx: click.Context) -> None:
    click.echo(f"pyoci {pyoci.__version__}")
    ctx.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. An error is one sentence on stderr."""
    try:
        code = command.main(arguments, prog_name="pyoci", standalone_mode=False)
        if sys.stdout is not None:  # a program may start us with stdout closed
            sys.stdout.flush()
    except click.UsageError as exc:
        help_for = exc.ctx.command_path if exc.ctx is not None else "pyoci"
        return _failed(f"{exc.format_message().rstrip('.')}; see `{help_for} --help`", WRONG_USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except BrokenPipeError:
        # Whoever read the output has enough. Python would complain when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as exc:  # noqa: BLE001  # no error ends in a traceback
        return _failed(*_understood(exc))
    return code if isinstance(code, int) else DONE


def _interrupted() -> int:
    """Give threads that are sending something a moment to break off, and end the process if one doesn't: it
    may wait for a registry for minutes. Nothing is half-published then: the store writes the document that
    refers to all others last.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C doesn't wait
    code = _failed("interrupted", INTERRUPTED)
    workers = [
        each for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()
    ]
    until = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.join(max(until - time.monotonic(), 0))
    if any(worker.is_alive() for worker in workers):
        sys.stdout.flush()
        os._exit(code)
    return code


def exit_code(error: Exception) -> int:
    """The exit code for an error that a verb has caught."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)


def _understood(error: Exception) -> tuple[str, int]:
    """The sentence for an error, and its exit code."""
    from pyoci.config import WrongSettings  # to import it takes as long as all of the help

    if isinstance(error, errors.PyOCIError):
        return error.message, exit_code(error)
    if isinstance(error, WrongSettings):
        return str(error), WRONG_USAGE
    if isinstance(error, click.ClickException):
        return error.format_message(), WRONG_USAGE
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}", FAILED
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return f"this is a defect of PyOCI: {type(error).__name__} at {place} in {frame.name}", FAILED


def _failed(sentence: str, code: int) -> int:
    from pyoci.cli.output import printable  # the help needs no more than this module

    click.echo("\n".join(map(printable, sentence.split("\n"))), err=True)
    return code
