"""`pyoci yank`, `unyank` and `delete`: each changes several targets, every one on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from pyoci.cli import schema
from pyoci.cli.commands import DONE, FAILED, exit_code
from pyoci.cli.output import Output
from pyoci.cli.verb import can_ask, verb
from pyoci.errors import PyOCIError
from pyoci.library import Index
from pyoci.library.targets import Target

_ACTIONS = {"yanked": "yank", "unyanked": "unyank", "deleted": "delete"}
_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    changed=schema.listed("The targets that were changed, as they were given.", schema.text("A target.")),
    failed=schema.listed(
        "The others.",
        schema.record(target=schema.text("The target."), reason=schema.text("Why it wasn't changed.")),
    ),
)


@verb(
    examples=(
        "pyoci yank ghcr.io/acme hello-world==1.0 --reason 'breaks on Python 3.13'",
        "pyoci yank ghcr.io/acme hello_world-1.0-py3-none-any.whl",
    ),
    document=_DOCUMENT,
    indexes=("index",),
    changes=True,
)
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("--reason", default="", help="One line that clients show.")
def yank(output: Output, index: Index, targets: tuple[str, ...], reason: str) -> int:
    """Yank versions and files of INDEX (PEP 592).

    Clients ignore yanked files, unless a requirement pins their version with ==. A TARGET is PROJECT==VERSION
    or a file name.
    """
    return _change(
        output, index, targets, "yanked", lambda target: index.yank(target.project, target.name, reason)
    )


@verb(
    examples=("pyoci unyank ghcr.io/acme hello-world==1.0",),
    document=_DOCUMENT,
    indexes=("index",),
    changes=True,
)
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
def unyank(output: Output, index: Index, targets: tuple[str, ...]) -> int:
    """End the yank of versions and files of INDEX.

    A TARGET is PROJECT==VERSION or a file name.
    """
    return _change(
        output, index, targets, "unyanked", lambda target: index.unyank(target.project, target.name)
    )


@verb(
    examples=(
        "pyoci delete ghcr.io/acme hello-world==1.0",
        "pyoci delete ghcr.io/acme hello_world-1.0-py3-none-any.whl --yes",
    ),
    document=_DOCUMENT,
    indexes=("index",),
    changes=True,
)
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Don't ask.")
def delete(output: Output, index: Index, targets: tuple[str, ...], yes: bool) -> int:
    """Delete versions and files of INDEX permanently.

    Yanking is often better: lock files that name yanked files still work. A TARGET is PROJECT==VERSION or a
    file name. The command asks first; if stdin isn't a terminal, --yes is required. Some registries can't
    delete.
    """
    if not yes:
        if not can_ask():
            raise click.UsageError("there is no terminal to ask at; expected --yes")
        if not click.confirm(f"Delete {', '.join(targets)} from {index.address}?", err=True):
            output.note("nothing was deleted")
            return FAILED
    return _change(
        output, index, targets, "deleted", lambda target: index.delete(target.project, target.name)
    )


def _change(
    output: Output, index: Index, texts: Sequence[str], word: str, work: Callable[[Target], None]
) -> int:
    """Do something to each target. One that fails stops no other. Returns the exit code: that of the first
    failure.
    """
    targets = [(text, Target.parse(text)) for text in texts]  # a typing error changes nothing
    changed, failed = [], []
    for text, target in targets:
        error = None
        try:
            work(target)
            changed.append(text)
        except PyOCIError as exc:
            failed.append((text, exc))
            error = exc
        output.audited(_ACTIONS[word], index, target.project, target.name, error=error)
    document = {
        "index": index.address,
        "changed": changed,
        "failed": [{"target": text, "reason": error.message} for text, error in failed],
    }
    output.show(document, lambda: output.lines(f"{word} {text}" for text in changed))
    for text, error in failed:
        output.note(f"{text}: {error.message}")
    return exit_code(failed[0][1]) if failed else DONE
