"""`pyoci list`: the projects of an index, or the versions of a project."""

from __future__ import annotations

from datetime import datetime

import click

from pyoci.cli import schema
from pyoci.cli.output import Output, day, size, timestamp
from pyoci.cli.verb import verb
from pyoci.library import File, Index

_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    projects=schema.nullable(
        schema.listed(
            "Every project, by name; null where PROJECT is given.", schema.text("A normalised name.")
        )
    ),
    versions=schema.nullable(
        schema.listed(
            "The versions of PROJECT, oldest first; null without it.",
            schema.record(
                version=schema.text("The version."),
                files=schema.number("How many files it has."),
                size=schema.number("Their size in bytes, as far as it is known."),
                upload_time=schema.nullable(schema.moment("When the last of them was published.")),
                yanked=schema.flag("Whether all of them are yanked."),
            ),
        )
    ),
)


@verb(
    examples=("pyoci list ghcr.io/acme", "pyoci list ghcr.io/acme hello-world --json"),
    document=_DOCUMENT,
    indexes=("index",),
)
@click.argument("project", required=False)
def command(output: Output, index: Index, project: str | None) -> None:
    """List the projects of INDEX, or the versions of PROJECT in it.

    Some registries don't list their repositories. For these, give a PROJECT.
    """
    if project is None:
        names = index.projects()
        listed = {"index": index.address, "projects": list(names), "versions": None}
        output.show(listed, lambda: output.lines(names))
        if not names:
            output.note(f"{index.address} has no projects")
        return
    versions = index.project(project).by_version()
    found = [_version(version, files) for version, files in versions.items()]
    document = {"index": index.address, "projects": None, "versions": found}
    output.show(document, lambda: _print(output, versions))


def _version(version: str, files: tuple[File, ...]) -> dict[str, object]:
    return {
        "version": version,
        "files": len(files),
        "size": sum(file.size or 0 for file in files),
        "upload_time": timestamp(_newest(files)),
        "yanked": _is_yanked(files),
    }


def _print(output: Output, versions: dict[str, tuple[File, ...]]) -> None:
    rows = (
        (
            version,
            str(len(files)),
            size(sum(file.size or 0 for file in files)),
            day(_newest(files)),
            "yanked" if _is_yanked(files) else "",
        )
        for version, files in reversed(versions.items())
    )
    output.table(("VERSION", "FILES", "SIZE", "PUBLISHED", ""), rows, right=("FILES", "SIZE"))


def _newest(files: tuple[File, ...]) -> datetime | None:
    return max((file.upload_time for file in files if file.upload_time is not None), default=None)


def _is_yanked(files: tuple[File, ...]) -> bool:
    return all(file.yanked is not None for file in files)
