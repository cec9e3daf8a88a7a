"""`pyoci prune`: deletes versions by rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyoci.cli import schema
from pyoci.cli.commands import DONE, FAILED, exit_code
from pyoci.cli.output import Output, counted, size
from pyoci.cli.verb import can_ask, verb
from pyoci.errors import PyOCIError
from pyoci.library import Index, PrunedVersion, Rules, operations, read_locks

_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    dry_run=schema.flag("Whether nothing was deleted because of --dry-run."),
    versions=schema.listed(
        "Every version that the rules delete.",
        schema.record(
            project=schema.text("The normalised name of the project."),
            version=schema.text("The version."),
            files=schema.listed("Its files.", schema.text("A file name.")),
            size=schema.number("Their size in bytes, as far as it is known."),
            deleted=schema.flag("Whether it was deleted."),
            error=schema.nullable(schema.text("Why it couldn't be deleted.")),
        ),
    ),
    unreadable=schema.listed(
        "Every project that couldn't be read, of which nothing is deleted.",
        schema.record(
            project=schema.text("The normalised name of the project."),
            error=schema.text("Why it couldn't be read."),
        ),
    ),
)
_Errors = dict[tuple[str, str], str]


@verb(
    examples=(
        "pyoci prune ghcr.io/acme --keep 10 --keep-newer 90d --dry-run",
        "pyoci prune ghcr.io/acme --match 'dev|rc' --keep-newer 30d --yes",
        "pyoci prune ghcr.io/acme hello-world --keep 5 --keep-locked uv.lock",
    ),
    document=_DOCUMENT,
    indexes=("index",),
    changes=True,
)
@click.argument("projects", metavar="[PROJECT]...", nargs=-1)
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Keep the N newest versions.")
@click.option("--keep-newer", metavar="AGE", help="Keep versions published in this time: 90d, 12h, 8w.")
@click.option("--keep-locked", metavar="FILE", multiple=True, help="Keep the versions in a lock file.")
@click.option("--match", metavar="REGEX", help="Delete only versions that match this expression.")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def command(
    output: Output,
    index: Index,
    projects: tuple[str, ...],
    keep: int | None,
    keep_newer: str | None,
    keep_locked: tuple[str, ...],
    match: str | None,
    dry_run: bool,
    yes: bool,
) -> int:
    """Delete versions of each PROJECT, or of all projects, in INDEX.

    The rules apply to each project separately. A version is deleted if --match matches it and no --keep rule
    keeps it. The newest final version that isn't yanked is always kept. Deleted files can't be restored:
    --dry-run only shows them. If a project can't be read, it is reported, and the others are pruned.
    """
    rules = _rules(keep, keep_newer, keep_locked, match)
    unreadable: dict[str, PyOCIError] = {}
    found = list(operations.prunable(index, rules, projects, unreadable=unreadable.__setitem__))
    for project, error in unreadable.items():
        output.note(f"{project} can't be read: {error.message}")
    asks = bool(found) and not (dry_run or yes)
    if asks and (output.as_json or not can_ask()):
        raise click.UsageError("there is no terminal to ask at; expected --yes or --dry-run")
    if not output.as_json:
        _print(output, found)
    if asks and not click.confirm("Delete them for good?", err=True):
        output.note("nothing was deleted")
        return 1
    errors = {} if dry_run else _delete(output, index, found)
    documents = [_document(each, errors, deleted=not dry_run) for each in found]
    document = {
        "index": index.address,
        "dry_run": dry_run,
        "versions": documents,
        "unreadable": [{"project": name, "error": error.message} for name, error in unreadable.items()],
    }
    output.show(document, lambda: None)
    if unreadable and not found:
        return exit_code(next(iter(unreadable.values())))
    return FAILED if errors or unreadable else DONE


def _rules(
    keep: int | None, keep_newer: str | None, keep_locked: tuple[str, ...], match: str | None
) -> Rules:
    rules = Rules.parse(
        keep=keep, keep_newer=keep_newer, match=match, locked=read_locks(map(Path, keep_locked))
    )
    if rules.keeps_nothing:
        raise click.UsageError("there is no rule; expected --keep, --keep-newer, --keep-locked or --match")
    return rules


def _delete(output: Output, index: Index, found: list[PrunedVersion]) -> _Errors:
    """Delete versions. Returns why some couldn't be deleted."""
    errors: _Errors = {}
    for each in found:
        hashes, error = [file.sha256 for file in each.files], None
        try:
            index.delete(each.project, str(each.version))
        except PyOCIError as exc:
            error = exc
            errors[each.project, str(each.version)] = exc.message
            output.note(f"{each.project} {each.version} was not deleted: {exc.message}")
        output.audited("prune", index, each.project, str(each.version), sha256=hashes, error=error)
    return errors


def _document(each: PrunedVersion, errors: _Errors, *, deleted: bool) -> dict[str, Any]:
    error = errors.get((each.project, str(each.version)))
    return {
        "project": each.project,
        "version": str(each.version),
        "files": [file.filename for file in each.files],
        "size": each.size,
        "deleted": deleted and error is None,
        "error": error,
    }


def _print(output: Output, found: list[PrunedVersion]) -> None:
    rows = [(each.project, str(each.version), str(len(each.files)), size(each.size)) for each in found]
    if rows:
        output.table(("PROJECT", "VERSION", "FILES", "SIZE"), rows, right=("FILES", "SIZE"))
        output.line()
    output.line(f"{counted(len(found), 'version')} to delete, {size(sum(each.size for each in found))}")
