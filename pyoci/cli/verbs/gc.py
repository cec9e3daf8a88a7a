"""`pyoci gc`: removes unreferenced data from the embedded registry."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pyoci.cli.output import Output, counted
from pyoci.cli.verb import DIRECTORY, verb
from pyoci.config import Settings, WrongSettings
from pyoci.embedded import gc


@verb(examples=("pyoci gc", "pyoci gc /srv/pyoci-data"), changes=True)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def command(output: Output, directory: Path | None) -> int:
    """Remove unreferenced data from the embedded registry.

    The default of DIRECTORY is the value of PYOCI_EMBEDDED, or else ./pyoci-data.
    """
    settings = Settings.from_environ(os.environ)
    directory = directory or settings.embedded or Path(DIRECTORY)
    if not directory.is_dir():
        raise WrongSettings(f"there is no directory {directory}; expected that of the embedded registry")

    def removed(repository: str, kind: str, digest: str) -> None:
        output.audited_at(str(directory), "gc", "", repository=repository, kind=kind, digest=digest)

    done = gc(directory, removed=removed)
    counts = (
        counted(done.manifests, "manifest"),
        counted(done.blobs, "blob"),
        counted(done.uploads, "unfinished upload"),
    )
    output.line(f"removed {', '.join(counts)}: {counted(done.freed, 'byte')}")
    for problem in done.problems:
        output.note(f"not removed: {problem}")
    return 1 if done.problems else 0
