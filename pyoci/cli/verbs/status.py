"""`pyoci status`: shows or sets the status of a project (PEP 792)."""

from __future__ import annotations

import click

from pyoci.cli import schema
from pyoci.cli.output import Output
from pyoci.cli.verb import verb
from pyoci.errors import PyOCIError
from pyoci.library import Index

STATUSES = ("active", "archived", "deprecated", "quarantined")


@verb(
    examples=(
        "pyoci status ghcr.io/acme hello-world",
        "pyoci status ghcr.io/acme hello-world archived --reason 'use hello-planet'",
        "pyoci status ghcr.io/acme hello-world active",
    ),
    document=schema.record(
        index=schema.text("The address of the index."),
        project=schema.text("The normalised name of the project."),
        status=schema.text("active, archived, deprecated or quarantined."),
        reason=schema.nullable(schema.text("The reason, where one was given.")),
    ),
    indexes=("index",),
    changes=True,
)
@click.argument("project")
@click.argument("status", type=click.Choice(STATUSES), required=False)
@click.option("--reason", default="", help="One line that clients show.")
def command(output: Output, index: Index, project: str, status: str | None, reason: str) -> None:
    """Show the status of PROJECT in INDEX, or set it (PEP 792).

    An archived project accepts no uploads. A quarantined project accepts no uploads, either, and nobody can
    download its files. A deprecated project is only marked. Files can be yanked and deleted in any status.
    """
    if reason and status is None:
        raise click.UsageError("--reason is for a new status; expected a STATUS as well")
    if status is not None:
        _set(output, index, project, status, reason)
    found = index.project(project)
    document = {
        "index": index.address,
        "project": found.name,
        "status": found.status.status,
        "reason": found.status.reason,
    }
    why = f": {found.status.reason}" if found.status.reason else ""
    output.show(document, lambda: output.line(f"{found.name} is {found.status.status}{why}"))


def _set(output: Output, index: Index, project: str, status: str, reason: str) -> None:
    try:
        index.set_status(project, status, reason)
    except PyOCIError as exc:
        output.audited("status", index, project, error=exc, status=status, reason=reason)
        raise
    output.audited("status", index, project, status=status, reason=reason)
