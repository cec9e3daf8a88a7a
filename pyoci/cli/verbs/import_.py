"""`pyoci import`: files from another package index, or from a folder."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from pyoci.cli import schema
from pyoci.cli.output import Output, print_imported
from pyoci.cli.progress import moving_bytes
from pyoci.cli.verb import source_environment, verb
from pyoci.library import Choice, ImportedFile, Index, open_source, operations

_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    source=schema.text("The address of the source."),
    files=schema.listed(
        "Every file that was chosen.",
        schema.record(
            "What became of a file.",
            project=schema.text("The normalised name of the project."),
            filename=schema.text("The file; empty where the whole project is meant."),
            outcome=schema.text("imported, present or failed."),
            error=schema.nullable(schema.text("Why it failed.")),
            size=schema.number("Bytes that were fetched."),
        ),
    ),
    lost=schema.listed(
        "What couldn't be kept of imported files.",
        schema.record(
            "Something that was lost.",
            project=schema.text("The normalised name of the project."),
            filename=schema.text("The file."),
            what=schema.text("What was lost, such as its upload time."),
        ),
    ),
)


@verb(
    examples=(
        "pyoci import ghcr.io/acme https://devpi.example.com/root/prod/+simple/",
        "pyoci import ghcr.io/acme /srv/pypiserver/packages",
        "pyoci import ghcr.io/acme https://packages.example.com/simple/ --lock uv.lock",
    ),
    document=_DOCUMENT,
    indexes=("index",),
    creates=True,
    changes=True,
    takes_netrc=True,
)
@click.argument("source")
@click.option("--project", "projects", metavar="NAME", multiple=True, help="Only this project.")
@click.option("--newer-than", metavar="AGE", help="Only files that were published in this time: 90d, 12h.")
@click.option("--requirements", metavar="FILE", multiple=True, help="Only what a requirements file asks for.")
@click.option("--lock", "locks", metavar="FILE", multiple=True, help="Only what a lock file names.")
@click.option("--jobs", type=click.IntRange(1, 64), default=8, help="Files sent at a time; 8 by default.")
def command(
    output: Output,
    index: Index,
    source: str,
    projects: tuple[str, ...],
    newer_than: str | None,
    requirements: tuple[str, ...],
    locks: tuple[str, ...],
    jobs: int,
    netrc: bool,
) -> int:
    """Import files from SOURCE to INDEX, with their upload times and yanks.

    SOURCE is the URL of any package index (its simple API), or a folder of wheels and sdists. What INDEX has
    already isn't fetched again. One bad file never stops the others. To copy from another registry, use
    `pyoci copy`.

    --username and --password-stdin are for INDEX. PYOCI_SOURCE_USERNAME and PYOCI_SOURCE_PASSWORD are for
    SOURCE, unless its login is stored.
    """
    choice = Choice.parse(
        projects=projects, requirements=map(Path, requirements), locks=map(Path, locks), newer_than=newer_than
    )
    with (
        open_source(source, netrc=netrc, environ=source_environment()) as opened,
        moving_bytes(output, "importing") as progress,
        closing(
            operations.import_files(
                index, opened, choice, jobs=jobs, progress=progress, audit=output.auditing(index)
            )
        ) as done,
    ):
        files = sorted(done, key=lambda each: (each.project, each.filename))
    document = {
        "index": index.address,
        "source": opened.address,
        "files": list(map(_document, files)),
        "lost": [
            {"project": each.project, "filename": each.filename, "what": what}
            for each in files
            for what in each.lost
        ],
    }
    output.show(document, lambda: print_imported(output, files, "imported"))
    return 1 if any(each.outcome == "failed" for each in files) else 0


def _document(file: ImportedFile) -> dict[str, Any]:
    return {
        "project": file.project,
        "filename": file.filename,
        "outcome": file.outcome,
        "error": file.error or None,
        "size": file.size,
    }
