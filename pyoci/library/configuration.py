"""The files of the user's own configuration: where they are, and how they are changed.

A change takes a lock on the folder, so two programs lose nothing of each other, and replaces the file at
once, so a program that reads it meanwhile finds the old or the new one.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pyoci.errors import InvalidRequest

PRIVATE = 0o600  # the mode of a new file: its owner alone reads and writes it


def configuration_folder(environ: Mapping[str, str]) -> Path:
    """The folder of all programs' configuration, by the XDG Base Directory Specification. Raises
    InvalidRequest where neither XDG_CONFIG_HOME nor HOME is set.
    """
    chosen = environ.get("XDG_CONFIG_HOME", "")
    if chosen.startswith("/"):  # the specification ignores relative paths
        return Path(chosen)
    return home(environ) / ".config"


def home(environ: Mapping[str, str]) -> Path:
    """The user's home directory. Raises InvalidRequest where HOME isn't set."""
    if not environ.get("HOME"):
        raise InvalidRequest("HOME is not set; expected the user's home directory")
    return Path(environ["HOME"])


def change_file(file: Path, change: Callable[[], str | None], *, mode: int | None = PRIVATE) -> None:
    """Replace the text of `file` by what `change` returns, unless that is None. `change` reads the file
    itself: no other program changes it meanwhile. A file that is there keeps its mode if `mode` is None.
    """
    file = Path(os.path.realpath(file))  # a link stays one
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(file.parent):
        text = change()
        if text is not None:
            _replace(file, text, _mode_of(file) if mode is None else mode)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """A lock on the folder itself leaves no file behind. It ends with the process that has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(file: Path, text: str, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as content:
            os.fchmod(content.fileno(), mode)
            content.write(text)
            content.flush()
            os.fsync(content.fileno())
        Path(name).replace(file)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _mode_of(file: Path) -> int:
    try:
        return file.stat().st_mode & 0o777
    except FileNotFoundError:
        return PRIVATE
