"""`pyoci search`: projects whose names have a word in them."""

from __future__ import annotations

import click

from pyoci.cli import schema
from pyoci.cli.output import Output
from pyoci.cli.verb import verb
from pyoci.library import Index
from pyoci.library.searching import search

_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    projects=schema.listed(
        "The projects that were found, by name.",
        schema.record(
            name=schema.text("The normalised name."),
            latest=schema.nullable(schema.text("The newest version; null where the project can't be read.")),
            summary=schema.nullable(schema.text("What the newest version says it is.")),
        ),
    ),
)


@verb(
    examples=("pyoci search ghcr.io/acme http", "pyoci search ghcr.io/acme 'acme-*' --json"),
    document=_DOCUMENT,
    indexes=("index",),
)
@click.argument("word")
@click.option("--names", is_flag=True, help="Print names only: faster, without version and summary.")
def command(output: Output, index: Index, word: str, names: bool) -> None:
    """Search INDEX for projects whose names contain WORD.

    WORD may be a pattern with * and ?, which must match the whole name. Case is ignored, and - _ . are equal.
    """
    found = list(search(index, word, names_only=names))
    document = {
        "index": index.address,
        "projects": [{"name": each.name, "latest": each.latest, "summary": each.summary} for each in found],
    }

    def for_people() -> None:
        if names:
            output.lines(each.name for each in found)
        else:
            rows = ((each.name, each.latest or "", each.summary or "") for each in found)
            output.table(("PROJECT", "LATEST", "SUMMARY"), rows)

    if found:
        output.show(document, for_people)
    else:
        output.show(document, lambda: None)
        output.note(f"no project in {index.address} has {word!r} in its name")
