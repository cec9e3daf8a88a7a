"""SharedContent: the newest content of a file or folder that any worker of this server has accepted.

A worker that is forked while the file is broken knows what its parent read at the server's start. It takes
this content in place of that.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager


class SharedContent:
    """Bytes in a file without a name. It is created before the fork, and the workers share it."""

    def __init__(self) -> None:
        self._file = _nameless_file()
        weakref.finalize(self, os.close, self._file)

    def read(self, size: int | None = None) -> bytes:
        """The content, or its first `size` bytes. Empty if it couldn't be written."""
        with self._locked():
            return os.pread(self._file, os.fstat(self._file).st_size if size is None else size, 0)

    def write(self, content: bytes) -> None:
        """Replace it. Without room for it, it is empty."""
        with self._locked():
            os.ftruncate(self._file, 0)
            try:
                written = os.pwrite(self._file, content, 0)
            except OSError:
                written = 0
            if written < len(content):
                os.ftruncate(self._file, 0)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):  # Linux
        return os.memfd_create("pyoci-content")
    file, name = tempfile.mkstemp(prefix="pyoci-content-")
    os.unlink(name)
    return file
