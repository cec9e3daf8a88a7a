"""One member out of a zip that may be hostile: bounded memory, bounded time, nothing but InvalidRequest."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from pyoci.dist.members import METADATA_LIMIT, check_count, check_size
from pyoci.errors import InvalidRequest

# zipfile keeps the central directory in memory: 16 MiB are 100,000 members with names of 100 characters.
DIRECTORY_LIMIT = 16 * 1024 * 1024
# Deflate adds 5 bytes to 64 KiB at worst. A longer stream consists of blocks without content, to waste time.
_STREAM_LIMIT = METADATA_LIMIT + 64 * 1024

_LOCAL_HEADER = b"PK\x03\x04"
_LOCAL_HEADER_SIZE = 30
_DIRECTORY_ENTRY = b"PK\x01\x02"
_ENCRYPTED = 0x1

# All that zipfile raises at broken archives: it unpacks numbers and names unchecked, and calls zlib.
_FOREIGN = (
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


class Seekable(Protocol):
    """As much of a binary file as a zip is read with."""

    def seek(self, offset: int, whence: int = ..., /) -> int: ...

    def tell(self) -> int: ...

    def read(self, size: int = ..., /) -> bytes: ...


def read_zip_member(file: BinaryIO, choose: Choose) -> bytes:
    """The content of the member that `choose` picks, at most METADATA_LIMIT bytes. Raises InvalidRequest."""
    file.seek(0)
    if file.read(4) != _LOCAL_HEADER:
        raise InvalidRequest("the file is not a zip archive; expected one, as its name says")
    return read_distant_zip_member(file, choose)


def read_distant_zip_member(file: Seekable, choose: Choose) -> bytes:
    """The same of a file that is dear to read: its first bytes are not looked at."""
    with _translated():
        archive = zipfile.ZipFile(_Frugal(file))
    with archive:
        members = archive.infolist()
        _check_layout(members, archive.start_dir)
        member = choose(members)
        _check_member(member)
        with _translated():
            return _read(archive, member)


class _Frugal:
    """The file as zipfile sees it, which reads the central directory in one piece: refuses an absurd one.

    Counting in the very bytes that zipfile takes for the directory leaves no room for another reading of the
    records at the archive's end, whose counts may lie.
    """

    def __init__(self, file: Seekable) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and not 0 <= offset <= self._size:  # the first releases of 3.11 don't look
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


def _check_layout(members: Sequence[zipfile.ZipInfo], directory: int) -> None:
    """Members follow each other from the first byte on, as every tool for building packages writes them.

    Other archives read differently in different programs, or hold the same bytes many times (a bomb).
    """
    end = 0
    for index, member in enumerate(sorted(members, key=lambda member: member.header_offset)):
        if index == 0 and member.header_offset != 0:
            raise InvalidRequest("the archive has other data before its first member; expected a plain zip")
        if member.header_offset < end:
            raise InvalidRequest(f"{member.filename[:100]!a} overlaps another member; expected a plain zip")
        # At least that much: in bytes the name may be longer, and an extra field may follow it.
        end = member.header_offset + _LOCAL_HEADER_SIZE + len(member.orig_filename) + member.compress_size
        if member.orig_filename != member.filename:
            raise InvalidRequest(
                f"the archive holds {member.orig_filename[:100]!a}; expected names without NUL"
            )
        if not member.filename:  # which zipfile can't tell from a folder without an IndexError
            raise InvalidRequest("the archive holds a member without a name; expected a plain zip")
    if end > directory:
        raise InvalidRequest("the archive's last member reaches into its directory; expected a plain zip")


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename[:100]
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive wasn't made on Unix
    if member.is_dir() or kind not in (0, stat.S_IFREG):
        raise InvalidRequest(f"{name!a} is a link, a folder or a device; expected a regular file")
    if member.flag_bits & _ENCRYPTED:
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
    with archive.open(member) as content:
        data = content.read(METADATA_LIMIT + 1)
    if len(data) != member.file_size:
        raise zipfile.BadZipFile("a member is shorter than it says")
    return data


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _FOREIGN as error:
        raise InvalidRequest(
            f"the zip archive can't be read: {str(error)[:100]!a}; expected a whole one"
        ) from error
