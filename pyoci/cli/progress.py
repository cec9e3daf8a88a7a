"""Progress on stderr: `moving_bytes` counts bytes of work whose size is unknown, `Bars` shows files."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pyoci.cli.output import Output, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

Progress = Callable[[int], None]

_NAME = 40  # characters of a file name


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


class Bars:
    """Progress on stderr, where stdout and stderr are terminals; else nothing. For a `with` block.

    `sizes` has the files in bytes. Several threads may use it.
    """

    def __init__(self, sizes: Mapping[Path, int], what: str) -> None:
        """`what` is the word for what is done: `published`."""
        self._sizes = sizes
        self._what = what
        self._lock = threading.Lock()
        self._tasks: dict[Path, TaskID] = {}
        self._progress: RichProgress | None = None

    def __enter__(self) -> Self:
        if sys.stdout.isatty() and sys.stderr.isatty():
            self._progress = _progress()
            self._progress.start()
            self._all = self._progress.add_task(self._what, total=sum(self._sizes.values()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def begin(self, path: Path) -> _Bar:
        """The bar of a file whose turn has come; it is called with numbers of bytes."""
        if self._progress is not None:
            name = printable(path.name if len(path.name) <= _NAME else f"{path.name[: _NAME - 1]}…")
            with self._lock:
                self._tasks[path] = self._progress.add_task(name, total=self._sizes.get(path, 0))
        return _Bar(self, path)

    def advance(self, path: Path, count: int) -> None:
        """So many bytes of a file have moved."""
        if self._progress is not None:
            self._progress.advance(self._tasks[path], count)
            self._progress.advance(self._all, count)

    def end(self, path: Path) -> None:
        """Take the bar of a file away."""
        if self._progress is not None:
            with self._lock:
                task = self._tasks.pop(path, None)
            if task is not None:
                self._progress.remove_task(task)


class _Bar:
    def __init__(self, bars: Bars, path: Path) -> None:
        self._bars = bars
        self._path = path

    def __call__(self, count: int) -> None:
        self._bars.advance(self._path, count)


def _progress() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        ProgressColumn,
        TextColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress

    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    ]
    return RichProgress(*columns, console=Console(stderr=True), transient=True)
