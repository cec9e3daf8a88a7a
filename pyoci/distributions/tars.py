"""Reads PKG-INFO from a tar.gz or tar.bz2 that may be hostile: memory and time are bounded, errors are
InvalidRequest.

Only single headers are parsed with the standard library's tarfile. For a whole archive it would keep every
member, read extension headers of any size into memory, recurse for each of them, and accept negative sizes.
"""

from __future__ import annotations

import bz2
import io
import re
import tarfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

from pyoci.distributions.members import TopFolder, check_count, check_memory, check_size
from pyoci.errors import InvalidRequest


class Limits(NamedTuple):
    """How many bytes an archive may unpack to: `minimum`, and `ratio` times its size."""

    minimum: int
    ratio: int

    def of(self, size: int) -> int:
        """The limit for an archive of that size."""
        return self.minimum + self.ratio * size


# A tar must be unpacked to its end: poetry, flit and hatch put PKG-INFO last, pip uses the last of two, and
# only the end shows whether an archive is truncated. The limits bound the time: real sdists unpack to 3 to
# 10 times their size, a gzip bomb to 1000 times, a bzip2 bomb to a million times. bzip2 unpacks several
# times more slowly than gzip.
GZIP_LIMITS = Limits(256 * 1024 * 1024, 32)
BZIP2_LIMITS = Limits(64 * 1024 * 1024, 16)
EXTENSION_LIMIT = 8 * 1024 * 1024  # bytes of all pax headers and long names in an archive

_PIECE = 256 * 1024
_PAX_TYPES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENSION_TYPES = (*_PAX_TYPES, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_NEWLINE = 0x0A
_PAX_RECORD = re.compile(rb"([0-9]{1,18}) ([^=]+)=")
_DIGITS_LIMIT = 18  # of a size


def read_tar_pkg_info(file: BinaryIO, ending: str) -> bytes:
    """The PKG-INFO of an sdist whose file name has this ending, at most METADATA_LIMIT bytes. Raises
    InvalidRequest.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if ending == ".tar.bz2":
        unpacked = _Unpacked(file, bz2.BZ2Decompressor(), "bzip2", ending, limit=BZIP2_LIMITS.of(size))
    else:
        unpacked = _Unpacked(file, _Inflater(), "gzip", ending, limit=GZIP_LIMITS.of(size))
    tar = _Tar(io.BufferedReader(unpacked, _PIECE))
    found = _find(tar)
    tar.drain()
    if found is None:
        raise InvalidRequest("the sdist has no PKG-INFO; expected one directly in its top folder")
    return found


def _find(tar: _Tar) -> bytes | None:
    folder = TopFolder()
    found: bytes | None = None
    while (member := tar.next()) is not None:
        if not folder.is_pkg_info(member.name, is_folder=member.is_folder):
            tar.skip(member.size)
            continue
        if not member.is_file:
            raise InvalidRequest(
                f"{member.name[:100]!a} is a link, a folder or a device; expected a regular file"
            )
        check_size(member.name, member.size)
        found = tar.read(member.size)
    return found


class _Decompressor(Protocol):
    """Decompresses one stream; the interface is that of bz2.BZ2Decompressor."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether all the data that was given has been read."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What follows the stream in the data that was given."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes. `data` is empty unless `needs_input`."""
        ...


class _Inflater:
    """A _Decompressor for gzip (RFC 1952)."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail or data, max_length)


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a file with one gzip or bzip2 stream, at most `limit`.

    The standard library's gzip reads headers byte by byte, and would read millions of empty streams. Several
    streams in one file are refused, because some programs read only the first.
    """

    def __init__(
        self, file: BinaryIO, decompressor: _Decompressor, kind: str, ending: str, *, limit: int
    ) -> None:
        self._file = file
        self._decompressor = decompressor
        self._kind = kind
        self._expected = ending.removeprefix(".")
        self._left = limit
        self._limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece = b""
        while not piece and not self._decompressor.eof:
            piece = self._unpack(len(buffer))
        self._left -= len(piece)
        if self._left < 0:
            raise InvalidRequest(f"the sdist unpacks to over {self._limit} bytes; expected less for its size")
        if not piece:
            self._check_end()
        buffer[: len(piece)] = piece
        return len(piece)

    def _unpack(self, size: int) -> bytes:
        packed = self._file.read(_PIECE) if self._decompressor.needs_input else b""
        if not packed and self._decompressor.needs_input:
            raise InvalidRequest(f"the sdist ends too early; expected a whole {self._expected}")
        try:
            return self._decompressor.decompress(packed, size)
        except (zlib.error, OSError) as error:  # bz2 raises OSError
            check_memory(error)
            raise InvalidRequest(
                f"the sdist can't be unpacked; expected a {self._expected}, as its name says"
            ) from error

    def _check_end(self) -> None:
        """Raises InvalidRequest if data follows the stream. Zeros may: some programs pad with them."""
        rest = self._decompressor.unused_data
        while rest:
            if rest.count(0) != len(rest):
                raise InvalidRequest(
                    f"the sdist has other data after its {self._kind} stream; expected nothing there"
                )
            rest = self._file.read(_PIECE)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    is_file: bool
    is_folder: bool


class _Tar:
    """Reads the members of a tar (POSIX.1-2001 pax, ustar, GNU) in one pass, without seeking."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._members = 0
        self._extensions = 0
        self._extension_left = EXTENSION_LIMIT

    def next(self) -> _Member | None:
        """The next member; None at the end. Read or skip its content before the next call."""
        extension: dict[str, str] = {}
        while (header := self._header()) is not None:
            if not self._is_extension(header, extension):
                self._members += 1
                check_count(self._members)
                return _member(header, extension)
            self._extensions += 1
            check_count(self._extensions)  # tarfile writes one for each member
        return None

    def read(self, size: int) -> bytes:
        """Read the next `size` bytes, and skip the padding after them."""
        data = self._file.read(size)
        padding = self._file.read(-size % tarfile.BLOCKSIZE)
        if len(data) + len(padding) != size + -size % tarfile.BLOCKSIZE:
            raise _cut_short()
        return data

    def skip(self, size: int) -> None:
        left = size + -size % tarfile.BLOCKSIZE
        while left:
            piece = self._file.read(min(left, _PIECE))
            if not piece:
                raise _cut_short()
            left -= len(piece)

    def drain(self) -> None:
        """Read what follows the end mark, so that a truncated archive is noticed."""
        while self._file.read(_PIECE):
            pass

    def _header(self) -> tarfile.TarInfo | None:
        block = self._file.read(tarfile.BLOCKSIZE)
        if block.count(0) == len(block):  # the end mark; a few programs write none, which tarfile accepts
            return None
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise InvalidRequest("the sdist holds a broken tar header; expected a tar archive") from error

    def _is_extension(self, header: tarfile.TarInfo, extension: dict[str, str]) -> bool:
        """Whether `header` is an extension of the next one; its records are added to `extension`."""
        if header.type not in _EXTENSION_TYPES:
            return False
        records = _extension_records(header.type, self._extension(header))
        if records.keys() & extension.keys():  # tarfile uses the first, other programs the last
            raise InvalidRequest("the sdist gives a member two names or sizes; expected one")
        extension |= records
        return True

    def _extension(self, header: tarfile.TarInfo) -> bytes:
        if not 0 <= header.size <= self._extension_left:
            raise InvalidRequest(
                f"the sdist holds too large tar headers; expected {EXTENSION_LIMIT} bytes in all"
            )
        self._extension_left -= header.size
        return self.read(header.size)


def _extension_records(kind: bytes, data: bytes) -> dict[str, str]:
    """The `path` and `size` of the next member in an extension header of that kind."""
    if kind in _PAX_TYPES:
        return _pax_records(data)
    if kind == tarfile.XGLTYPE and _pax_records(data):
        raise InvalidRequest("the sdist gives all members one name or size; expected one for each")
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
    return {}


def _member(header: tarfile.TarInfo, extension: dict[str, str]) -> _Member:
    size = _size(extension["size"]) if "size" in extension else header.size
    if size < 0 or header.type == tarfile.GNUTYPE_SPARSE:
        raise InvalidRequest(
            f"{header.name[:100]!a} has no size, or holes in it; expected a plain tar archive"
        )
    # Links, folders and devices have no content, as in tarfile, which pip uses.
    has_content = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
    return _Member(
        name=extension.get("path", header.name),
        size=size if has_content else 0,
        is_file=header.isreg(),
        is_folder=header.isdir(),
    )


def _pax_records(data: bytes) -> dict[str, str]:
    """The records `path` and `size` of a pax header: "<length> <keyword>=<value>\\n" (POSIX.1-2001, pax)."""
    records: dict[str, str] = {}
    start = 0
    while start < len(data) and data[start]:
        found = _PAX_RECORD.match(data, start)
        end = start + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(data) or data[end - 1] != _NEWLINE:
            raise InvalidRequest("the sdist holds a broken pax header; expected a tar archive")
        if found[2] in (b"path", b"size"):
            records[found[2].decode()] = data[found.end() : end - 1].decode("utf-8", "surrogateescape")
        start = end
    return records


def _size(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_LIMIT:
        return int(text)
    raise InvalidRequest("the sdist holds a broken pax header; expected a size in digits")


def _cut_short() -> InvalidRequest:
    return InvalidRequest("the sdist ends inside a member; expected a whole tar archive")
