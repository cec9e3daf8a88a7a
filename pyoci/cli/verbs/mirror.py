"""`pyoci mirror`: copies of another package index's files, to serve them without it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from pyoci.cli import schema
from pyoci.cli.output import Output, print_imported
from pyoci.cli.progress import moving_bytes
from pyoci.cli.verb import environment, verb
from pyoci.config import MirrorSettings
from pyoci.library import Filter, ImportedFile, Index, Selection, operations

_OUTCOMES = {"imported": "stored"}  # the word of this verb, where it isn't that of `pyoci import`
_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    source=schema.text("The address of the index that the files come from."),
    files=schema.listed(
        "Every file that was chosen.",
        schema.record(
            "What became of a file.",
            project=schema.text("The normalised name of the project."),
            filename=schema.text("The file; empty where the project or a version is meant."),
            outcome=schema.text("stored, present, changed (yanked or not), left out or failed."),
            reason=schema.nullable(schema.text("Why it was left out, or failed.")),
            lost=schema.listed("What of it couldn't be kept.", schema.text("Such as its provenance.")),
            size=schema.number("Bytes that were fetched."),
        ),
    ),
)


@verb(
    examples=(
        "pyoci mirror ghcr.io/acme/upstream --lock uv.lock",
        "pyoci mirror ghcr.io/acme/upstream --lock uv.lock --platform manylinux_2_28_x86_64 --python 3.12",
        "pyoci mirror ghcr.io/acme/upstream --project 'numpy>=2' --newest 3 --no-sdists",
    ),
    document=_DOCUMENT,
    indexes=("index",),
    creates=True,
    changes=True,
    takes_netrc=True,
)
@click.option("--lock", "locks", metavar="FILE", multiple=True, help="Copy the files in a lock file.")
@click.option(
    "--project", "projects", metavar="REQUIREMENT", multiple=True, help="Copy this project as well."
)
@click.option(
    "--newest", metavar="N", type=click.IntRange(1), help="Versions of each --project; 1 by default."
)
@click.option("--all-versions", is_flag=True, help="Copy every matching version of each --project.")
@click.option(
    "--platform", "platforms", metavar="TAG", multiple=True, help="Only wheels for this platform, or any."
)
@click.option("--python", "pythons", metavar="X.Y", multiple=True, help="Only files for this Python.")
@click.option("--no-sdists", is_flag=True, help="Copy wheels only.")
@click.option("--source", metavar="URL", help="The package index to copy from.")
@click.option(
    "--any-index", is_flag=True, help="Also copy packages of lock files from other or unnamed indexes."
)
@click.option("--jobs", type=click.IntRange(1, 64), default=8, help="Files sent at a time; 8 by default.")
def command(output: Output, index: Index, *, jobs: int, netrc: bool, **chosen: Any) -> int:
    """Copy files of PyPI, or of another package index, to INDEX, a namespace only for such copies.

    FILE is uv.lock, pylock.toml, poetry.lock, pdm.lock, or a requirements file with == and --hash. TAG is the
    newest platform tag that a machine accepts (manylinux_2_28_x86_64, macosx_14_0_arm64, win_amd64), or a
    pattern ('musllinux_*_x86_64'). Wheels with the platform `any` are always copied. Dependencies of a
    --project aren't copied.

    The files come from --source, or from the index that the lock files name, or from PYOCI_UPSTREAM_INDEX.
    Packages of other indexes and PYOCI_PRIVATE_PROJECTS are left out. Each file must have the sha256 in the
    lock file and on the source's page. Files that INDEX already has aren't fetched again, so the same command
    continues an interrupted copy. If a file fails, the others are copied, and the exit code is 1.

    --username and --password-stdin are for INDEX. PYOCI_SOURCE_USERNAME and PYOCI_SOURCE_PASSWORD are for the
    source, or PYOCI_UPSTREAM_AUTH if that is PYOCI_UPSTREAM_INDEX, unless its login is stored.
    """
    selection = _selection(**chosen)
    with (
        moving_bytes(output, "copying") as progress,
        closing(
            operations.mirror(
                index,
                selection,
                netrc=netrc,
                environ=environment(),
                jobs=jobs,
                progress=progress,
                audit=output.auditing(index),
            )
        ) as done,
    ):
        files = sorted(done, key=lambda each: (each.project, each.filename))
    document = {"index": index.address, "source": selection.source, "files": list(map(_document, files))}
    output.show(document, lambda: print_imported(output, files, "stored"))
    return 1 if any(each.outcome == "failed" for each in files) else 0


def _selection(
    *,
    locks: tuple[str, ...],
    projects: tuple[str, ...],
    newest: int | None,
    all_versions: bool,
    platforms: tuple[str, ...],
    pythons: tuple[str, ...],
    no_sdists: bool,
    source: str | None,
    any_index: bool,
) -> Selection:
    if newest is not None and all_versions:
        raise click.UsageError("--newest and --all-versions exclude each other; expected one of them")
    return Selection.parse(
        MirrorSettings.from_environ(environment()),
        locks=map(Path, locks),
        projects=projects,
        source=source,
        any_index=any_index,
        newest=None if all_versions else newest or 1,
        files=Filter.parse(platforms, pythons, sdists=not no_sdists),
    )


def _document(file: ImportedFile) -> dict[str, Any]:
    return {
        "project": file.project,
        "filename": file.filename,
        "outcome": _OUTCOMES.get(file.outcome, file.outcome),
        "reason": file.error or None,
        "lost": list(file.lost),
        "size": file.size,
    }
