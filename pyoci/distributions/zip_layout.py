"""Checks that every program finds the same members in a zip archive.

pip reads the directory at the archive's end. uv unpacks from the first byte on, by the local headers. PyPI
compares both. An archive that they would read differently is refused: the members in the directory must fill
the file from its first byte to the directory, each with a local header that agrees. Only a comment may follow
the end record. (APPNOTE.TXT 4.3 and 4.4.)
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from pyoci.distributions.members import split_name
from pyoci.errors import InvalidRequest

LOCAL_HEADER = b"PK\x03\x04"
LOCAL_HEADER_SIZE = 30
ENCRYPTED = 0x1

_DESCRIPTOR_FOLLOWS = 0x8
_UTF8_NAME = 0x800
_DIRECTORY_ENTRY_SIZE = 46
_DESCRIPTOR = b"PK\x07\x08"
_DESCRIPTOR_LIMIT = 24  # bytes, with a signature and sizes of 64 bits
_ZIP64_END = b"PK\x06\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_ZIP64_LOCATOR_SIZE = 20
_END = b"PK\x05\x06"
_END_SIZE = 22
_END_LIMIT = 128 * 1024  # bytes: a comment has at most 65,535
_UNKNOWN_16, _UNKNOWN_32 = 0xFFFF, 0xFFFFFFFF  # "look into the zip64 record"
_ZIP64_EXTRA = 0x0001
_UNICODE_PATH_EXTRA = 0x7075
_PIECE = 1024 * 1024


class Seekable(Protocol):
    """The methods of a binary file that reading a zip needs."""

    def seek(self, offset: int, whence: int = ..., /) -> int: ...

    def tell(self) -> int: ...

    def read(self, size: int = ..., /) -> bytes: ...


def check_directory(members: Sequence[zipfile.ZipInfo], directory: int) -> None:
    """Check, by the directory alone, that members follow each other from the first byte on, and that no two
    share bytes, as in a bomb. `directory` is the offset of the directory. Raises InvalidRequest.
    """
    end = 0
    for index, member in enumerate(sorted(members, key=_start)):
        if index == 0 and member.header_offset != 0:
            raise InvalidRequest("the archive has other data before its first member; expected a plain zip")
        if member.header_offset < end:
            raise InvalidRequest(f"{_shown(member)} overlaps another member; expected a plain zip")
        # This is a minimum: the name may be longer in bytes, and an extra field may follow it.
        end = member.header_offset + LOCAL_HEADER_SIZE + len(member.orig_filename) + member.compress_size
        if "\0" in member.orig_filename:
            raise InvalidRequest(f"the archive holds {_shown(member)}; expected names without NUL")
        if not member.filename:  # zipfile would raise an IndexError
            raise InvalidRequest("the archive holds a member without a name; expected a plain zip")
    if end > directory:
        raise InvalidRequest("the archive's last member reaches into its directory; expected a plain zip")


def check_local_headers(file: Seekable, members: Sequence[zipfile.ZipInfo], directory: int) -> None:
    """Check that the local headers and the end record agree with the directory, and that the file has no
    other bytes. `directory` is the offset of the directory. Only headers are read. Raises InvalidRequest.
    """
    _check_end(file, members, directory)
    in_order = sorted(members, key=_start)
    stops = [*(member.header_offset for member in in_order[1:]), directory]
    for member, stop in zip(in_order, stops, strict=True):
        _check_member(file, member, stop)


def unique_members(file: Seekable, members: Iterable[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The members, each path once: old wheels have some files twice. Raises InvalidRequest if two members
    with one path differ, because some programs use the first and some the last.
    """
    unique: dict[str, zipfile.ZipInfo] = {}
    first: dict[str, zipfile.ZipInfo] = {}
    contents: dict[str, tuple[object, ...]] = {}  # of members whose path occurs again
    for member in members:
        path = "/".join(split_name(member.filename))
        unique.setdefault(member.filename, member)
        known = first.setdefault(path, member)
        if known is member:
            continue
        if path not in contents:
            contents[path] = _content(file, known)
        if _content(file, member) != contents[path]:
            raise InvalidRequest(
                f"the archive holds {_shown(member)} twice with different content; expected it once"
            )
    return list(unique.values())


def _check_end(file: Seekable, members: Sequence[zipfile.ZipInfo], directory: int) -> None:
    """Check that the end record follows the directory, describes it, and is last except for its comment."""
    size = sum(
        _DIRECTORY_ENTRY_SIZE + len(_name(member)) + len(member.extra) + len(member.comment)
        for member in members
    )
    file.seek(directory + size)
    tail = file.read(_END_LIMIT)
    zip64: tuple[int, int, int] | None = None
    if tail.startswith(_ZIP64_END) and len(tail) > _ZIP64_LOCATOR_SIZE + _END_SIZE:
        zip64 = struct.unpack_from("<3Q", tail, 32)
        tail = tail[12 + struct.unpack_from("<Q", tail, 4)[0] :]
        tail = tail[_ZIP64_LOCATOR_SIZE:] if tail.startswith(_ZIP64_LOCATOR) else b""
    if len(tail) < _END_SIZE or not tail.startswith(_END):
        raise InvalidRequest("the archive's directory doesn't end where its entries do; expected a plain zip")
    count, stated_size, stated_start, comment = struct.unpack_from("<H2LH", tail, 10)
    if len(tail) != _END_SIZE + comment:
        raise InvalidRequest("the archive has other data after its end; expected nothing there")
    if zip64 is not None:
        count = zip64[0] if count == _UNKNOWN_16 else count
        stated_size = zip64[1] if stated_size == _UNKNOWN_32 else stated_size
        stated_start = zip64[2] if stated_start == _UNKNOWN_32 else stated_start
    # In writers without zip64 the count overflows after 65,535.
    if count not in (len(members), len(members) & 0xFFFF) or (stated_size, stated_start) != (size, directory):
        raise InvalidRequest("the archive's end record describes another directory; expected a plain zip")


def _check_member(file: Seekable, member: zipfile.ZipInfo, stop: int) -> None:
    """Check that a local header agrees with the directory, and that its member ends at `stop`."""
    flags, stated, name, extra = _local_header(file, member)
    agrees = (
        name == _name(member)
        and _sizes_agree(stated, member, extra, deferred=bool(flags & _DESCRIPTOR_FOLLOWS))
        and not (flags ^ member.flag_bits) & (ENCRYPTED if name.isascii() else ENCRYPTED | _UTF8_NAME)
    )
    if not agrees:
        raise InvalidRequest(
            f"{_shown(member)} has a local header that differs from the archive's directory;"
            " expected the same"
        )
    if member.flag_bits & ENCRYPTED:
        raise InvalidRequest(f"{_shown(member)} is encrypted; expected a plain file")
    for path in (*_unicode_paths(extra), *_unicode_paths(member.extra)):
        if path not in (name, member.orig_filename.encode()):
            raise InvalidRequest(f"{_shown(member)} has two names in the archive; expected one")
    end = member.header_offset + LOCAL_HEADER_SIZE + len(name) + len(extra) + member.compress_size
    _check_gap(file, member, range(end, stop), has_descriptor=bool(flags & _DESCRIPTOR_FOLLOWS))


def _local_header(
    file: Seekable, member: zipfile.ZipInfo
) -> tuple[int, tuple[int, int, int, int], bytes, bytes]:
    """Flags; method, CRC, packed and unpacked size; name; extra field."""
    file.seek(member.header_offset)
    header = file.read(LOCAL_HEADER_SIZE)
    if len(header) != LOCAL_HEADER_SIZE or not header.startswith(LOCAL_HEADER):
        raise InvalidRequest(f"{_shown(member)} has no local header; expected a plain zip")
    flags, method, crc, packed, size, length, extra_length = struct.unpack_from("<2H4x3L2H", header, 6)
    rest = file.read(length + extra_length)
    return flags, (method, crc, packed, size), rest[:length], rest[length:]


def _sizes_agree(
    stated: tuple[int, int, int, int], member: zipfile.ZipInfo, extra: bytes, *, deferred: bool
) -> bool:
    """Whether method, CRC and sizes are those of the directory. If they are `deferred` to a descriptor after
    the content, each may also be 0.
    """
    method, crc, packed, size = stated
    if _UNKNOWN_32 in (packed, size):
        for _, data in _extra_fields(extra, _ZIP64_EXTRA):
            values = iter(struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]))
            size = next(values, size) if size == _UNKNOWN_32 else size
            packed = next(values, packed) if packed == _UNKNOWN_32 else packed
    pairs = ((crc, member.CRC), (packed, member.compress_size), (size, member.file_size))
    return method == member.compress_type and all(
        local == central or (deferred and local == 0) for local, central in pairs
    )


def _check_gap(file: Seekable, member: zipfile.ZipInfo, gap: range, *, has_descriptor: bool) -> None:
    """Check that only a data descriptor, or nothing, is between a member's content and what follows."""
    if gap.start == gap.stop and not has_descriptor:
        return
    if gap.stop < gap.start:
        raise InvalidRequest(f"{_shown(member)} overlaps what follows it; expected a plain zip")
    file.seek(gap.start)
    found = file.read(min(len(gap), _DESCRIPTOR_LIMIT + 1))
    if has_descriptor and found in _descriptors(member):
        return
    if not found:
        raise InvalidRequest(f"{_shown(member)} lacks the data descriptor that it promises; expected one")
    if found.startswith(LOCAL_HEADER):
        raise InvalidRequest(
            f"after {_shown(member)} follows a member that the archive's directory doesn't list;"
            " expected a plain zip"
        )
    raise InvalidRequest(f"other data follows {_shown(member)} in the archive; expected the next member")


def _descriptors(member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The forms of a data descriptor: with a signature or without, sizes of 32 bits or of 64."""
    values = (member.CRC, member.compress_size, member.file_size)
    for layout in ("<3L", "<L2Q"):
        if layout == "<L2Q" or max(values) <= _UNKNOWN_32:
            data = struct.pack(layout, *values)
            yield data
            yield _DESCRIPTOR + data


def _extra_fields(extra: bytes, kind: int) -> Iterator[tuple[int, bytes]]:
    """The extra fields of one kind, up to the first incomplete field."""
    while len(extra) >= 4:
        found, length = struct.unpack_from("<2H", extra)
        if found == kind:
            yield found, extra[4 : 4 + length]
        extra = extra[4 + length :]


def _unicode_paths(extra: bytes) -> Iterator[bytes]:
    """The names in Info-ZIP's Unicode path fields, which have a version, a CRC and the name in UTF-8."""
    for _, data in _extra_fields(extra, _UNICODE_PATH_EXTRA):
        yield data[5:]


def _content(file: Seekable, member: zipfile.ZipInfo) -> tuple[object, ...]:
    """A value that differs between members with different content. A CRC alone could be forged."""
    _, _, name, extra = _local_header(file, member)
    file.seek(member.header_offset + LOCAL_HEADER_SIZE + len(name) + len(extra))
    hashed, left = hashlib.sha256(), member.compress_size
    while left and (piece := file.read(min(left, _PIECE))):
        hashed.update(piece)
        left -= len(piece)
    kind = stat.S_IFMT(member.external_attr >> 16)
    return member.is_dir(), kind, member.compress_type, member.CRC, member.file_size, hashed.digest()


def _name(member: zipfile.ZipInfo) -> bytes:
    """The bytes of a member's name. zipfile decodes them with one of two encodings; both are reversible."""
    return member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8_NAME else "cp437")


def _start(member: zipfile.ZipInfo) -> int:
    return member.header_offset


def _shown(member: zipfile.ZipInfo) -> str:
    return f"{member.orig_filename[:100]!a}"
