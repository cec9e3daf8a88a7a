"""`pyoci publish`: wheels and sdists into an index."""

from __future__ import annotations

from contextlib import closing

import click

from pyoci.cli import schema
from pyoci.cli.commands import DONE, FAILED, NOT_ALLOWED
from pyoci.cli.output import Output
from pyoci.cli.progress import Bars
from pyoci.cli.verb import verb
from pyoci.errors import Denied, Unauthorized
from pyoci.library import Index
from pyoci.library.publishing import Outcome, check_files, find_files, publish_files, size_of

_PLACE = schema.record(
    path=schema.text("The file."),
    project=schema.text("The normalised name of its project."),
    version=schema.text("Its version."),
    sha256=schema.text("Its digest, in hex."),
)
_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    dry_run=schema.flag("Whether nothing was written."),
    published=schema.listed("The files that are in the index now, or would be.", _PLACE),
    failed=schema.listed(
        "The others.",
        schema.record(path=schema.text("The file."), reason=schema.text("Why it isn't published.")),
    ),
)


@verb(
    examples=(
        "pyoci publish ghcr.io/acme dist/",
        "pyoci publish ghcr.io/acme 'build/**/*.whl' --dry-run",
        "pyoci publish https://pypi.example.com/ghcr.io/acme/ dist/* --json",
    ),
    document=_DOCUMENT,
    indexes=("index",),
    changes=True,
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Verify the files, and write nothing.")
@click.option(
    "--attestations", is_flag=True, help="Also send FILE.publish.attestation of each file (PEP 740)."
)
def command(output: Output, index: Index, files: tuple[str, ...], dry_run: bool, attestations: bool) -> int:
    """Publish wheels and sdists into INDEX.

    FILE may be a folder, for the wheels and sdists in it, or a pattern in quotes. Wheels are published first,
    several files at a time. If a file can't be published, the others still are. The end of the output names
    the file with the reason, and the exit code is 1, or 3 if you may not publish any file. An identical file
    that the index already has counts as published.

    With --attestations, a file without an attestation beside it isn't published. PyOCI stores attestations
    without verifying them. Files that the index already has keep their attestations.
    """
    paths, missing = find_files(files)
    found = list(missing)
    if dry_run:
        found += check_files(index, paths, attested=attestations)
    else:
        with (
            Bars({path: size_of(path) for path in paths}, "published") as bars,
            closing(publish_files(index, paths, watch=bars.begin, attested=attestations)) as outcomes,
        ):
            for outcome in outcomes:
                bars.end(outcome.path)
                _audit(output, index, outcome)
                found.append(outcome)
    output.show(_document(index, found, dry_run), lambda: _print(output, found, dry_run))
    errors = [outcome.error for outcome in found if outcome.error is not None]
    for outcome in found:
        if outcome.error is not None and not output.as_json:
            output.note(f"{outcome.path}: {outcome.error.message}")
    if not errors:
        return DONE
    refused = all(isinstance(error, Unauthorized | Denied) for error in errors)
    return NOT_ALLOWED if refused and len(errors) == len(found) else FAILED


def _audit(output: Output, index: Index, outcome: Outcome) -> None:
    file = outcome.file
    output.audited(
        "publish",
        index,
        "" if file is None else file.project,
        outcome.path.name,
        sha256=() if file is None else (file.sha256,),
        error=outcome.error,
    )


def _document(index: Index, outcomes: list[Outcome], dry_run: bool) -> dict[str, object]:
    return {
        "index": index.address,
        "dry_run": dry_run,
        "published": [
            {
                "path": str(outcome.path),
                "project": outcome.file.project,
                "version": outcome.file.version,
                "sha256": outcome.file.sha256,
            }
            for outcome in outcomes
            if outcome.file is not None
        ],
        "failed": [
            {"path": str(outcome.path), "reason": outcome.error.message}
            for outcome in outcomes
            if outcome.error is not None
        ],
    }


def _print(output: Output, outcomes: list[Outcome], dry_run: bool) -> None:
    word = "would publish" if dry_run else "published"
    for outcome in outcomes:
        if outcome.file is not None:
            output.line(f"{word} {outcome.file.filename}")
