"""`pyoci download`: the files that requirements ask for, verified."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from pyoci.cli import schema
from pyoci.cli.commands import DONE, FAILED, exit_code
from pyoci.cli.output import Output, file_sizes
from pyoci.cli.progress import Bars
from pyoci.cli.verb import verb
from pyoci.errors import PyOCIError
from pyoci.library import File, Index
from pyoci.library.downloading import Downloaded, download_files, files_for, parse_requirement

_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    files=schema.listed(
        "The files that are in the directory now.",
        schema.record(
            path=schema.text("Where the file is."),
            project=schema.text("The normalised name of its project."),
            version=schema.nullable(schema.text("Its version.")),
            sha256=schema.nullable(schema.text("Its digest, which was verified.")),
            was_present=schema.flag("Whether it was there before."),
        ),
    ),
    failed=schema.listed(
        "What could not be downloaded.",
        schema.record(what=schema.text("The requirement or the file."), reason=schema.text("Why.")),
    ),
)


@verb(
    examples=(
        "pyoci download ghcr.io/acme hello-world",
        "pyoci download ghcr.io/acme 'hello-world>=1,<2' other==3.0 -d wheels",
    ),
    document=_DOCUMENT,
    indexes=("index",),
)
@click.argument("requirements", metavar="REQUIREMENT...", nargs=-1, required=True)
@click.option(
    "-d",
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The target directory; by default the current one.",
)
@click.option("--all-versions", is_flag=True, help="Download every matching version, not only the newest.")
def command(
    output: Output, index: Index, requirements: tuple[str, ...], directory: Path, all_versions: bool
) -> int:
    """Download the files that match each REQUIREMENT from INDEX.

    For each REQUIREMENT, all files of the newest matching version are downloaded, for every platform, without
    dependencies. Each is verified by its sha256, and gets its name when it is complete. A file that already
    exists isn't downloaded again.
    """
    parsed = [parse_requirement(text) for text in requirements]
    wanted: dict[str, File] = {}
    failed: list[tuple[str, PyOCIError | OSError]] = []
    for requirement in parsed:
        try:
            found = files_for(index, requirement, every_version=all_versions)
            wanted.update((file.filename, file) for file in found)
        except PyOCIError as exc:
            failed.append((str(requirement), exc))
    done: list[Downloaded] = []
    files = tuple(wanted.values())
    with (
        Bars(file_sizes(files), "downloaded") as bars,
        closing(download_files(index, files, directory, watch=bars.begin)) as outcomes,
    ):
        for each in outcomes:
            bars.end(Path(each.file.filename))
            done.append(each)
    failed += [(each.file.filename, each.error) for each in done if each.error is not None]
    output.show(_document(index, done, failed), lambda: _print(output, done))
    for what, error in failed:
        output.note(f"{what}: {_reason(error)}")
    if not failed:
        return DONE
    return FAILED if done else exit_code(failed[0][1])


def _document(
    index: Index, done: list[Downloaded], failed: list[tuple[str, PyOCIError | OSError]]
) -> dict[str, object]:
    return {
        "index": index.address,
        "files": [
            {
                "path": str(each.path),
                "project": each.file.project,
                "version": each.file.version,
                "sha256": each.file.sha256,
                "was_present": each.outcome == "present",
            }
            for each in done
            if each.error is None
        ],
        "failed": [{"what": what, "reason": _reason(error)} for what, error in failed],
    }


def _print(output: Output, done: list[Downloaded]) -> None:
    for each in done:
        if each.error is None:
            output.line(f"{each.path}{' was there' if each.outcome == 'present' else ''}")


def _reason(error: PyOCIError | OSError) -> str:
    return error.message if isinstance(error, PyOCIError) else error.strerror or type(error).__name__
