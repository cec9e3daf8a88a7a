"""`pyoci show`: a project or a version with its files."""

from __future__ import annotations

from collections.abc import Mapping

import click

from pyoci.cli import schema
from pyoci.cli.output import FILE, Output, day, file_document, size
from pyoci.cli.verb import verb
from pyoci.errors import NotFound
from pyoci.library import Index, Project

_FILE = schema.record(
    "A file.",
    **FILE["properties"],
    labels=schema.nullable(
        schema.mapping(
            "The labels by key, if a version is given and the index is a registry.", schema.text("A label.")
        )
    ),
)
_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    project=schema.text("The normalised name of the project."),
    status=schema.text("Its status: active, archived, deprecated or quarantined."),
    status_reason=schema.nullable(schema.text("The reason for the status, where one was given.")),
    latest=schema.nullable(
        schema.text("The newest version that is neither yanked nor a pre-release, else the next best.")
    ),
    files=schema.listed("The files of the project, or of the version.", _FILE),
)


@verb(
    examples=("pyoci show ghcr.io/acme hello-world", "pyoci show ghcr.io/acme hello-world==1.0 --json"),
    document=_DOCUMENT,
    indexes=("index",),
)
@click.argument("project", metavar="PROJECT[==VERSION]")
def command(output: Output, index: Index, project: str) -> None:
    """Show the files of PROJECT in INDEX, or those of one VERSION of it with their labels."""
    name, equals, version = project.partition("==")
    whole = index.project(name.strip())
    shown = whole.of_version(version.strip()) if equals else whole
    if equals and not shown.files:
        raise NotFound(f"{whole.name} has no version {version.strip()[:100]!a} in {index.address}")
    labels = {file.filename: index.labels(file) for file in shown.files} if equals else {}
    document = {
        "index": index.address,
        "project": whole.name,
        "status": whole.status.status,
        "status_reason": whole.status.reason,
        "latest": whole.latest,
        "files": [{**file_document(file), "labels": labels.get(file.filename)} for file in shown.files],
    }
    output.show(document, lambda: _print(output, shown, labels))


def _print(output: Output, project: Project, labels: Mapping[str, dict[str, str] | None]) -> None:
    if project.status.status != "active":
        why = f": {project.status.reason}" if project.status.reason else ""
        output.line(f"{project.name} is {project.status.status}{why}")
    columns = ("FILE", "SIZE", "PUBLISHED", "PYTHON", "SHA256", "YANKED")
    rows = (
        (
            file.filename,
            size(file.size),
            day(file.upload_time),
            file.requires_python or "",
            output.digest(file.sha256),
            "" if file.yanked is None else file.yanked or "yes",
        )
        for file in project.files
    )
    output.table(columns, rows, right=("SIZE",))
    for filename, found in labels.items():
        for key, value in (found or {}).items():
            output.line(f"{filename}: {key} = {value}")
