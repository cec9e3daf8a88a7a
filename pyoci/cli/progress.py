"""Progress: bars on stderr, where somebody looks at them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyoci.cli.output import Output

Progress = Callable[[int], None]


@contextmanager
def moving_bytes(output: Output, label: str) -> Iterator[Progress]:
    """A counter of bytes, and their rate, for work whose size isn't known ahead. The function that the block
    gets is called with each number of bytes, from any thread.

    Nothing is shown where stdout or stderr is no terminal, or with --json.
    """
    if output.as_json or not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda _count: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}"),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=None)
        yield lambda count: shown.advance(task, count)
