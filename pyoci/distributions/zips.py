"""Reads one member of a zip that may be hostile: memory and time are bounded, errors are InvalidRequest."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from pyoci.distributions import zip_layout
from pyoci.distributions.members import METADATA_LIMIT, check_count, check_memory, check_size
from pyoci.errors import InvalidRequest

# zipfile keeps the central directory in memory: 16 MiB are 100,000 members with names of 100 characters.
DIRECTORY_LIMIT = 16 * 1024 * 1024
# Deflate adds 5 bytes to 64 KiB at worst. A longer stream has many empty blocks, to waste time.
_STREAM_LIMIT = METADATA_LIMIT + 64 * 1024

_DIRECTORY_ENTRY = b"PK\x01\x02"

# All that zipfile raises for broken archives: it unpacks numbers and names unchecked, and calls zlib.
_ZIPFILE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
    RuntimeError,
)

Choose = Callable[[Sequence[zipfile.ZipInfo]], zipfile.ZipInfo]


def read_zip_member(file: BinaryIO, choose: Choose) -> bytes:
    """The content of the member that `choose` selects, at most METADATA_LIMIT bytes. Raises InvalidRequest,
    also if another program could find other members in the archive.
    """
    file.seek(0)
    if file.read(4) != zip_layout.LOCAL_HEADER:
        raise InvalidRequest("the file is not a zip archive; expected one, as its name says")
    with _opened(file) as archive:
        members = archive.infolist()
        with _translated():
            zip_layout.check_local_headers(file, members, archive.start_dir)
            members = zip_layout.unique_members(file, members)
        return _read(archive, choose(members))


def read_distant_zip_member(file: zip_layout.Seekable, choose: Choose) -> bytes:
    """Like `read_zip_member`, for a file in a registry: only the directory and the member are read."""
    with _opened(file) as archive:
        return _read(archive, choose(archive.infolist()))


@contextmanager
def _opened(file: zip_layout.Seekable) -> Iterator[zipfile.ZipFile]:
    """The archive, after its directory was checked."""
    with _translated():
        archive = zipfile.ZipFile(_LimitedReader(file))
    with archive:
        zip_layout.check_directory(archive.infolist(), archive.start_dir)
        yield archive


class _LimitedReader:
    """A file object for zipfile, which reads the whole central directory with one call. A directory over the
    limits is refused.

    Entries are counted in the bytes that zipfile reads, because the counts in the archive may be wrong.
    """

    def __init__(self, file: zip_layout.Seekable) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and not 0 <= offset <= self._size:  # the first releases of 3.11 don't check
            raise zipfile.BadZipFile("it points outside itself")
        return self._file.seek(offset, whence)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._file.tell()
        size = left if size < 0 else min(size, left)
        if size > DIRECTORY_LIMIT:
            raise InvalidRequest(
                f"the archive's directory has {size} bytes; expected at most {DIRECTORY_LIMIT}"
            )
        data = self._file.read(size)
        check_count(data.count(_DIRECTORY_ENTRY))
        return data


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename[:100]
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 if the archive wasn't made on Unix
    if member.is_dir() or kind not in (0, stat.S_IFREG):
        raise InvalidRequest(f"{name!a} is a link, a folder or a device; expected a regular file")
    if member.flag_bits & zip_layout.ENCRYPTED:
        raise InvalidRequest(f"{name!a} is encrypted; expected a plain file")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidRequest(
            f"{name!a} is compressed by method {member.compress_type}; expected stored (0) or deflated (8)"
        )
    check_size(name, member.file_size)
    if member.compress_size > _STREAM_LIMIT:
        raise InvalidRequest(
            f"{name!a} has {member.compress_size} compressed bytes; expected fewer than unpacked"
        )


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    _check_member(member)
    with _translated():
        with archive.open(member) as content:
            data = content.read(METADATA_LIMIT + 1)
        if len(data) != member.file_size:
            raise zipfile.BadZipFile("a member is shorter than it says")
        return data


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _ZIPFILE_ERRORS as error:
        check_memory(error)
        raise InvalidRequest(
            f"the zip archive can't be read: {str(error)[:100]!a}; expected a whole one"
        ) from error
