"""Zip archives that two programs would unpack differently are refused; those of real writers are accepted."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

import pytest

from tests.builders import make_metadata, make_sdist, make_zip
from tests.distributions.conftest import Read, Refusal

WHEEL = "hello_world-1.0-py3-none-any.whl"
PATH = "hello_world-1.0.dist-info/METADATA"
TEXT = make_metadata()

_UTF8 = 0x800
_DEFERRED = 0x8


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A stored member. `local` and `central` are the wrong fields of its two headers."""

    path: str | bytes = "hello_world.py"
    data: bytes = b"x = 1\n"
    flags: int = 0
    local: dict[str, int | bytes] = field(default_factory=dict)
    central: dict[str, int | bytes] = field(default_factory=dict)
    behind: bytes = b""  # bytes between the content and the next member
    listed: bool = True  # in the directory
    attributes: int = 0

    @property
    def fields(self) -> dict[str, int | bytes]:
        name = self.path if isinstance(self.path, bytes) else self.path.encode()
        size = len(self.data)
        common: dict[str, int | bytes] = {
            "name": name,
            "flags": self.flags,
            "method": 0,
            "crc": zlib.crc32(self.data),
        }
        return {**common, "packed": size, "size": size, "extra": b""}


METADATA = Member(path=PATH, data=TEXT)


def _common(told: dict[str, int | bytes]) -> bytes:
    name, extra = told["name"], told["extra"]
    assert isinstance(name, bytes)
    assert isinstance(extra, bytes)
    numbers = (told["flags"], told["method"], 0, 0x21, told["crc"], told["packed"], told["size"])
    return struct.pack("<5H3L2H", 20, *numbers, len(name), len(extra))


def make_archive(*members: Member, end: bytes = b"", **told: int) -> bytes:
    """A zip of these members. `told` are numbers in the end record; `end` follows it."""
    content, directory, count = b"", b"", 0
    for member in members:
        if member.listed:
            values = {**member.fields, **member.central}
            tail = struct.pack("<3H2L", 0, 0, 0, member.attributes, len(content))
            directory += b"PK\x01\x02" + struct.pack("<H", 20) + _common(values) + tail
            directory += values["name"] + values["extra"]  # type: ignore[operator]
            count += 1
        values = {**member.fields, **member.local}
        content += b"PK\x03\x04" + _common(values) + values["name"] + values["extra"]  # type: ignore[operator]
        content += member.data + member.behind
    numbers = {"count": count, "size": len(directory), "start": len(content), "comment": 0, **told}
    record = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, numbers["count"], numbers["count"], *list(numbers.values())[1:]
    )
    return content + directory + record + end


def make_zip64_end(content: bytes) -> bytes:
    """The same archive with an end record of 64 bits."""
    start = content.rindex(b"PK\x05\x06")
    count, size, offset = struct.unpack_from("<H2L", content, start + 10)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:start] + record + locator + end


class Pipe(io.BytesIO):
    """A file without seek, for which zipfile writes data descriptors."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise OSError("no seeking in a pipe")

    def tell(self) -> int:
        raise OSError("no seeking in a pipe")


def make_streamed(*, zip64: bool) -> bytes:
    """A wheel that zipfile has written to a pipe."""
    target = Pipe()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in ((PATH, TEXT), ("hello_world.py", b"")):
            with archive.open(path, "w", force_zip64=zip64) as member:
                member.write(data)
    return target.getvalue()


def deferred(behind: bytes, **overrides: int) -> Member:
    """A member whose sizes follow it."""
    local: dict[str, int | bytes] = {"crc": 0, "packed": 0, "size": 0, **overrides}
    return Member(path="a", data=b"abc", flags=_DEFERRED, local=local, behind=behind)


def unicode_path(crc_of: bytes, name: str) -> bytes:
    data = struct.pack("<BL", 1, zlib.crc32(crc_of)) + name.encode()
    return struct.pack("<2H", 0x7075, len(data)) + data


_CRC = zlib.crc32(b"abc")
_SHORT = struct.pack("<3L", _CRC, 3, 3)
_LONG = struct.pack("<L2Q", _CRC, 3, 3)
_ZIP64 = struct.pack("<2H2Q", 1, 16, 6, 6)
_ANY = 0xFFFFFFFF
_TIME_LOCAL = struct.pack("<2HB3L", 0x5455, 13, 7, 1, 2, 3)
_TIME_CENTRAL = struct.pack("<2HBL", 0x5455, 5, 7, 1)

ACCEPTED = {
    "plain": make_archive(Member(), METADATA),
    "descriptor": make_archive(deferred(_SHORT), METADATA),
    "descriptor, signed": make_archive(deferred(b"PK\x07\x08" + _SHORT), METADATA),
    "descriptor, 64 bits": make_archive(deferred(_LONG), METADATA),
    "descriptor, signed, 64 bits": make_archive(deferred(b"PK\x07\x08" + _LONG), METADATA),
    "descriptor after sizes that are known": make_archive(
        deferred(b"PK\x07\x08" + _SHORT, crc=_CRC, packed=3, size=3), METADATA
    ),
    "streamed by zipfile": make_streamed(zip64=False),
    "streamed by zipfile, zip64": make_streamed(zip64=True),
    "zip64 sizes in the local header": make_archive(
        Member(local={"packed": _ANY, "size": _ANY, "extra": _ZIP64}), METADATA
    ),
    "zip64 end": make_zip64_end(make_archive(Member(), METADATA)),
    "other extra fields in either header": make_archive(
        Member(local={"extra": _TIME_LOCAL}, central={"extra": _TIME_CENTRAL}), METADATA
    ),
    "a name in UTF-8": make_archive(Member(path="zoë.py", flags=_UTF8), METADATA),
    "a name in code page 437": make_archive(Member(path=b"zo\x89.py"), METADATA),
    "ASCII, and only one header says UTF-8": make_archive(Member(central={"flags": _UTF8}), METADATA),
    "a Unicode path": make_archive(
        Member(path=b"zo\x89.py", local={"extra": unicode_path(b"zo\x89.py", "zoë.py")}), METADATA
    ),
    "empty folders": make_archive(Member(path="a/", data=b""), Member(path="a/b/", data=b""), METADATA),
    "a comment": make_archive(Member(), METADATA, comment=3, end=b"abc"),
    "a file twice": make_archive(Member(), Member(), METADATA),
    "a folder twice": make_archive(Member(path="a/", data=b""), Member(path="a/", data=b""), METADATA),
    "METADATA twice": make_archive(METADATA, Member(), METADATA),
}


@pytest.mark.parametrize("content", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(read: Read, content: bytes) -> None:
    """Every form of the format in which all programs find the same members."""
    assert read(WHEEL, content).text == TEXT


_TWICE = "twice with different content"
_DIFFERS = "has a local header that differs"
_UNLISTED = "that the archive's directory doesn't list"

REFUSED = {
    "a module twice": (make_archive(Member(), Member(data=b"y = 2\n"), METADATA), _TWICE),
    "METADATA twice": (
        make_archive(METADATA, Member(path=PATH, data=make_metadata(requires=["evil"]))),
        _TWICE,
    ),
    "a path spelled otherwise": (
        make_archive(Member(), Member(path="./hello_world.py", data=b""), METADATA),
        _TWICE,
    ),
    "twice, of one CRC": (
        make_archive(
            Member(path="a", data=b"abc"),
            Member(path="a", data=b"abd", local={"crc": _CRC}, central={"crc": _CRC}),
            METADATA,
        ),
        _TWICE,
    ),
    "a file and a folder": (
        make_archive(Member(path="a", data=b""), Member(path="a/", data=b""), METADATA),
        _TWICE,
    ),
    "a file and a link": (
        make_archive(Member(path="a"), Member(path="a", attributes=0o120777 << 16), METADATA),
        _TWICE,
    ),
    "another name": (make_archive(Member(local={"name": b"other_name.py1"}), METADATA), _DIFFERS),
    "a name in another case": (make_archive(Member(local={"name": b"Hello_world.py"}), METADATA), _DIFFERS),
    "another encoding": (
        make_archive(Member(path="zoë.py", flags=_UTF8, local={"flags": 0}), METADATA),
        _DIFFERS,
    ),
    "another method": (make_archive(Member(local={"method": 8}), METADATA), _DIFFERS),
    "another CRC": (make_archive(Member(local={"crc": 1}), METADATA), _DIFFERS),
    "another size": (make_archive(Member(local={"size": 5}), METADATA), _DIFFERS),
    "another packed size": (make_archive(Member(local={"packed": 5}), METADATA), _DIFFERS),
    "no sizes, and no descriptor": (make_archive(Member(local={"packed": 0, "size": 0}), METADATA), _DIFFERS),
    "another size in zip64": (
        make_archive(
            Member(local={"packed": _ANY, "size": _ANY, "extra": struct.pack("<2H2Q", 1, 16, 6, 7)}), METADATA
        ),
        _DIFFERS,
    ),
    "encrypted": (make_archive(Member(flags=1), METADATA), "encrypted"),
    "encrypted in the local header": (make_archive(Member(local={"flags": 1}), METADATA), _DIFFERS),
    "another Unicode path": (
        make_archive(Member(local={"extra": unicode_path(b"hello_world.py", "other.py")}), METADATA),
        "two names",
    ),
    "a descriptor that lies": (
        make_archive(deferred(struct.pack("<3L", _CRC, 3, 4)), METADATA),
        "other data follows",
    ),
    "no descriptor": (make_archive(deferred(b""), METADATA), "lacks the data descriptor"),
    "an unlisted member": (make_archive(Member(listed=False), METADATA), "before its first"),
    "an unlisted member in between": (
        make_archive(Member(), Member(path="evil.py", listed=False), METADATA),
        _UNLISTED,
    ),
    "an unlisted member last": (make_archive(METADATA, Member(path="evil.py", listed=False)), _UNLISTED),
    "other data in between": (make_archive(Member(behind=b"abc"), METADATA), "other data follows"),
    "other data before the directory": (
        make_archive(Member(path=PATH, data=TEXT, behind=bytes(16))),
        "other data follows",
    ),
    "data after the end": (make_archive(METADATA, end=b"x"), "after its end"),
    "zeros after the end": (make_archive(METADATA, end=bytes(512)), "after its end"),
    "data after the comment": (make_archive(METADATA, comment=3, end=b"abcd"), "after its end"),
    "a comment cut short": (make_archive(METADATA, comment=3, end=b"ab"), "after its end"),
    "data after a zip64 end": (make_zip64_end(make_archive(METADATA)) + b"x", "after its end"),
    "another count": (make_archive(Member(), METADATA, count=1), "another directory"),
    "an archive in the comment": (
        make_archive(METADATA, comment=len(make_zip({"a": b""})), end=make_zip({"a": b""})),
        "before its first",
    ),
}


@pytest.mark.parametrize(("content", "sentence"), REFUSED.values(), ids=REFUSED)
def test_refused(refusal: Refusal, content: bytes, sentence: str) -> None:
    """Archives that pip, uv and PyPI would read differently are refused with the reason."""
    assert sentence in refusal(WHEEL, content)


def test_an_sdist(refusal: Refusal) -> None:
    """The same rules hold for an sdist's zip."""
    assert "after its end" in refusal("hello_world-1.0.zip", make_sdist(ending=".zip")[1] + b"x")


def test_many_copies_of_a_large_member(refusal: Refusal) -> None:
    """Only members with repeated paths are read, in pieces, each once."""
    big = Member(path="big.bin", data=bytes(8_000_000))
    small = [Member(path="big.bin", data=b"") for _ in range(50)]
    assert _TWICE in refusal(WHEEL, make_archive(METADATA, big, *small), megabytes=20)
