"""`pyoci copy`: projects from one registry to another, or to and from a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

import click

from pyoci.cli import schema
from pyoci.cli.output import Output, counted, present, size
from pyoci.cli.progress import moving_bytes
from pyoci.cli.verb import verb
from pyoci.library import CopiedTag, Index, operations

_TAG = schema.record(
    "What became of a tag.",
    project=schema.text("The normalised name of the project."),
    tag=schema.text(
        "The tag, which is the version as OCI spells it; empty where the whole project is meant."
    ),
    outcome=schema.text("copied, changed, present, passed over or failed."),
    notes=schema.listed("What differs from the source, or what went wrong.", schema.text("A sentence.")),
    sent=schema.number("Bytes that were sent."),
    mounted=schema.number("Blobs that the registry mounted from the source's repository."),
    referrers=schema.number("Signatures, attestations and SBOMs that were copied."),
)
_DOCUMENT = schema.record(
    source=schema.text("The address of the source."),
    target=schema.text("The address of the target."),
    tags=schema.listed("Every tag of every project.", _TAG),
)


@verb(
    examples=(
        "pyoci copy ghcr.io/acme registry.example.com/packages",
        "pyoci copy ghcr.io/acme oci:backup",
        "pyoci copy oci:backup ghcr.io/acme hello-world",
    ),
    document=_DOCUMENT,
    indexes=("source", "target"),
    creates=True,
    changes=True,
)
@click.argument("projects", metavar="[PROJECT]...", nargs=-1)
@click.option("--jobs", type=click.IntRange(1, 64), default=8, help="Versions at a time; 8 by default.")
def command(output: Output, source: Index, target: Index, projects: tuple[str, ...], jobs: int) -> int:
    """Copy each PROJECT, or all projects, from SOURCE to TARGET.

    SOURCE and TARGET are registries with a namespace, or folders of OCI image layouts (oci:DIR) for backup
    and restore. The command copies everything that TARGET doesn't have, byte for byte, with upload times,
    yanks and signatures. Files that only TARGET has stay there.

    --username and --password-stdin are for TARGET. PYOCI_SOURCE_USERNAME and PYOCI_SOURCE_PASSWORD are for
    SOURCE, unless its login is stored.
    """
    with moving_bytes(output, "copying") as progress:
        copied = operations.copy(source, target, projects, jobs=jobs, progress=progress)
        with closing(copied):
            tags = sorted(_audited(output, target, copied), key=lambda each: (each.project, each.tag))
    document = {"source": source.address, "target": target.address, "tags": list(map(_document, tags))}
    output.show(document, lambda: _print(output, tags))
    return 1 if any(each.outcome == "failed" for each in tags) else 0


def _audited(output: Output, target: Index, tags: Iterable[CopiedTag]) -> Iterator[CopiedTag]:
    """The same tags, each with its audit line unless nothing was to be written."""
    for each in tags:
        if each.outcome in {"copied", "changed", "failed"}:
            result = "failed" if each.outcome == "failed" else "done"
            name = each.project.normalized
            output.audited("copy", target, name, tag=each.tag, digest=each.digest, result=result)
        yield each


def _document(tag: CopiedTag) -> dict[str, Any]:
    return {
        "project": tag.project.normalized,
        "tag": tag.tag,
        "outcome": tag.outcome,
        "notes": list(tag.notes),
        "sent": tag.sent,
        "mounted": tag.mounted,
        "referrers": tag.referrers,
    }


def _print(output: Output, tags: list[CopiedTag]) -> None:
    told = [each for each in tags if each.notes]
    if told:
        rows = [(str(each.project), each.tag, each.outcome, "; ".join(each.notes)) for each in told]
        output.table(("PROJECT", "TAG", "OUTCOME", ""), rows)
        output.line()
    counts = Counter(each.outcome for each in tags)
    copied = counts["copied"] + counts["changed"]
    parts = [f"{counted(copied, 'tag')} copied", present(counts["present"])]
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    sent, mounted = sum(each.sent for each in tags), sum(each.mounted for each in tags)
    output.line(
        f"{', '.join(parts)}; {size(sent)} sent"
        + (f", {counted(mounted, 'blob')} mounted" if mounted else "")
    )
