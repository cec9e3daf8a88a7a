"""Hostile zip archives: refused with a sentence, in little memory."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyoci.distributions.filenames import Wheel, parse_filename
from pyoci.distributions.members import MEMBER_LIMIT, METADATA_LIMIT
from pyoci.distributions.metadata import read_distant_metadata, read_metadata
from pyoci.distributions.zips import DIRECTORY_LIMIT
from pyoci.errors import InvalidRequest
from tests.builders import make_metadata, make_sdist, make_wheel, make_zip
from tests.distributions.conftest import Read, Refusal

WHEEL = "hello_world-1.0-py3-none-any.whl"
PATH = "hello_world-1.0.dist-info/METADATA"
TEXT = make_metadata()
MEMBERS = {"hello_world.py": b"x = 1\n", PATH: TEXT}

# Offset and format of the fields of a central directory entry (APPNOTE.TXT 4.3.12).
FIELDS = {
    "extract_version": (6, "<H"),
    "flags": (8, "<H"),
    "method": (10, "<H"),
    "crc": (16, "<L"),
    "compressed": (20, "<L"),
    "size": (24, "<L"),
    "attributes": (38, "<L"),
    "offset": (42, "<L"),
}


def patched(content: bytes, path: str, **fields: int) -> bytes:
    """A zip whose directory has wrong fields for the member `path`."""
    data = bytearray(content)
    entry = data.rindex(path.encode()) - 46
    for field, value in fields.items():
        offset, layout = FIELDS[field]
        struct.pack_into(layout, data, entry + offset, value)
    return bytes(data)


# The same fields in a local header (4.3.7).
LOCAL_OFFSETS = {"flags": 6, "method": 8, "crc": 14, "compressed": 18, "size": 22}


def patched_twice(content: bytes, path: str, **fields: int) -> bytes:
    """A zip whose directory and local header have the same wrong fields for the member `path`."""
    data = bytearray(patched(content, path, **fields))
    for field, value in fields.items():
        start = data.index(path.encode()) - 30
        struct.pack_into(FIELDS[field][1], data, start + LOCAL_OFFSETS[field], value)
    return bytes(data)


def end_patched(content: bytes, *, size: int, offset: int, count: int = 1) -> bytes:
    """A zip whose end record has wrong fields."""
    start = content.rindex(b"PK\x05\x06")
    return content[:start] + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, offset, 0)


def make_zip_with(method: int, *, force_zip64: bool = False) -> bytes:
    """A wheel whose METADATA is compressed by this method."""
    target = io.BytesIO()
    info = zipfile.ZipInfo(PATH)
    info.compress_type = method
    with (
        zipfile.ZipFile(target, "w") as archive,
        archive.open(info, "w", force_zip64=force_zip64) as member,
    ):
        member.write(TEXT)
    return target.getvalue()


def make_raw(stream: bytes, *, size: int, crc: int = 0, directory: bytes | None = None) -> bytes:
    """A wheel whose METADATA is this deflate stream, with any size and any directory."""
    name = PATH.encode()
    common = struct.pack("<5H3L2H", 20, 0, 8, 0, 0x21, crc, len(stream), size, len(name), 0)
    local = b"PK\x03\x04" + common + name + stream
    if directory is None:
        directory = (
            b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<3H2L", 0, 0, 0, 0, 0) + name
        )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), len(local), 0)
    return local + directory + end


def deflated(data: bytes, times: int = 1) -> bytes:
    """A deflate stream that repeats `data` without end."""
    deflater = zlib.compressobj(9, wbits=-15)
    first = deflater.compress(data) + deflater.flush(zlib.Z_FULL_FLUSH)
    again = deflater.compress(data) + deflater.flush(zlib.Z_FULL_FLUSH)
    return first + again * (times - 1)


MEBIBYTE = bytes(1024 * 1024)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(make_zip(MEMBERS), id="deflated"),
        pytest.param(make_zip_with(zipfile.ZIP_STORED), id="stored"),
        pytest.param(make_zip_with(zipfile.ZIP_DEFLATED, force_zip64=True), id="zip64"),
        pytest.param(patched(make_zip(MEMBERS), PATH, attributes=0), id="not made on Unix"),
        pytest.param(make_zip({"a/": b"", **MEMBERS}), id="with folders"),
        pytest.param(make_zip({f"./{path}": data for path, data in MEMBERS.items()}), id="names from ."),
        pytest.param(make_zip({"vendor/a-1.dist-info/METADATA": b"", **MEMBERS}), id="vendored METADATA"),
        pytest.param(make_zip({"a-1.dist-info/METADATA.json": b"", **MEMBERS}), id="another file"),
    ],
)
def test_accepted(read: Read, content: bytes) -> None:
    """The archives of all tools are read."""
    assert read(WHEEL, content).text == TEXT


class CountingFile(io.BytesIO):
    """A file that records the offsets of its reads."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.reads: list[int] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads.append(self.tell())
        return super().read(size)


def test_distant() -> None:
    """A wheel in a registry is read only at its end and at METADATA."""
    filename, content = make_wheel(files={"a.bin": bytes(range(256)) * 1000})
    file, wheel = CountingFile(b"xxxx" + content[4:]), parse_filename(filename)
    assert isinstance(wheel, Wheel)
    found = read_distant_metadata(file, wheel)
    assert found == read_metadata(io.BytesIO(content), wheel)
    assert min(file.reads) >= content.index(b"hello_world-1.0.dist-info/METADATA") - 30
    assert len(file.reads) <= 8


@pytest.mark.parametrize(
    ("filename", "sentence"),
    [
        ("hello_world-1.1-py3-none-any.whl", "expected the .dist-info of hello-world 1.1"),
        ("goodbye-1.0-py3-none-any.whl", "expected the .dist-info of goodbye 1.0"),
    ],
)
def test_distant_of_another(filename: str, sentence: str) -> None:
    """Its metadata must agree with its file name, like that of a local wheel."""
    wheel = parse_filename(filename)
    assert isinstance(wheel, Wheel)
    with pytest.raises(InvalidRequest, match=sentence):
        read_distant_metadata(io.BytesIO(make_wheel()[1]), wheel)


def test_comment(read: Read) -> None:
    """An archive may have a comment, like those of git."""
    target = io.BytesIO(make_zip(MEMBERS))
    with zipfile.ZipFile(target, "a") as archive:
        archive.comment = b"0123456789abcdef"
    assert read(WHEEL, target.getvalue()).text == TEXT


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"", "not a zip", id="empty"),
        pytest.param(b"hello", "not a zip", id="text"),
        pytest.param(make_sdist()[1], "not a zip", id="tar.gz"),
        pytest.param(b"PK\x05\x06" + bytes(18), "not a zip", id="zip of nothing"),
        pytest.param(b"PK\x03\x04", "can't be read", id="signature only"),
        pytest.param(b"MZ" + make_zip(MEMBERS), "not a zip", id="program before it"),
        pytest.param(make_zip({"a": b""}) + make_zip(MEMBERS), "before its first", id="zip before it"),
        pytest.param(make_zip(MEMBERS)[:-30], "can't be read", id="end cut off"),
        pytest.param(make_zip(MEMBERS)[:60], "can't be read", id="directory cut off"),
        pytest.param(make_zip({"a.py": b""}), "no *.dist-info/METADATA", id="no METADATA"),
        pytest.param(make_zip({f"a/{PATH}": TEXT}), "no *.dist-info/METADATA", id="METADATA not at the top"),
        pytest.param(make_zip({"METADATA": TEXT}), "no *.dist-info/METADATA", id="METADATA without folder"),
        pytest.param(
            make_zip({PATH: TEXT, "other-1.dist-info/METADATA": TEXT}),
            "2 *.dist-info/METADATA",
            id="two METADATA",
        ),
        pytest.param(
            make_zip({PATH: TEXT, f"./{PATH}": TEXT}), "2 *.dist-info/METADATA", id="METADATA twice"
        ),
        pytest.param(make_zip({**MEMBERS, "../x": b""}), "stay inside", id="parent"),
        pytest.param(make_zip({**MEMBERS, "/etc/x": b""}), "stay inside", id="absolute"),
        pytest.param(make_zip({**MEMBERS, "a_b": b""}).replace(b"a_b", b"a\0b"), "without NUL", id="NUL"),
        pytest.param(make_zip({**MEMBERS, "": b""}), "without a name", id="no name"),
        pytest.param(make_zip({f"{PATH}/": b""}), "regular file", id="METADATA is a folder"),
        pytest.param(
            patched(make_zip(MEMBERS), PATH, attributes=0o120777 << 16), "regular file", id="a link"
        ),
        pytest.param(
            patched(make_zip(MEMBERS), PATH, attributes=0o020666 << 16), "regular file", id="a device"
        ),
        pytest.param(patched_twice(make_zip(MEMBERS), PATH, flags=1), "encrypted", id="encrypted"),
        pytest.param(patched(make_zip(MEMBERS), PATH, flags=0x40), "can't be read", id="strongly encrypted"),
        pytest.param(patched(make_zip(MEMBERS), PATH, flags=0x20), "can't be read", id="patch data"),
        pytest.param(make_zip_with(zipfile.ZIP_BZIP2), "method 12", id="bzip2"),
        pytest.param(make_zip_with(zipfile.ZIP_LZMA), "method 14", id="lzma"),
        pytest.param(patched_twice(make_zip(MEMBERS), PATH, method=99), "method 99", id="unknown method"),
        pytest.param(
            patched(make_zip(MEMBERS), PATH, extract_version=99), "can't be read", id="of the future"
        ),
        pytest.param(patched_twice(make_zip(MEMBERS), PATH, crc=1), "can't be read", id="damaged"),
        pytest.param(patched_twice(make_zip(MEMBERS), PATH, size=10), "can't be read", id="size too small"),
        pytest.param(patched_twice(make_zip(MEMBERS), PATH, size=1000), "can't be read", id="size too large"),
        pytest.param(
            patched_twice(make_zip(MEMBERS), PATH, compressed=5), "other data follows", id="stream cut short"
        ),
        pytest.param(
            patched(make_zip(MEMBERS), PATH, compressed=99999), "into its directory", id="reaches out"
        ),
        pytest.param(patched(make_zip(MEMBERS), PATH, offset=0), "overlaps", id="at another's place"),
        pytest.param(patched(make_zip(MEMBERS), PATH, offset=40), "overlaps", id="inside another"),
        pytest.param(
            patched(make_zip(MEMBERS), PATH, offset=2**31), "into its directory", id="points outside"
        ),
        pytest.param(
            make_zip(MEMBERS).replace(PATH.encode(), PATH.replace("1.0", "1.1").encode(), 1),
            "local header that differs",
            id="two names",
        ),
        pytest.param(
            patched(make_zip({**MEMBERS, "abc": b""}), "abc", flags=0x800).replace(b"abc", b"\xff\xfe\xfd"),
            "can't be read",
            id="names that are no UTF-8",
        ),
        pytest.param(
            end_patched(make_zip(MEMBERS), size=2**31, offset=0), "can't be read", id="directory too long"
        ),
        pytest.param(
            end_patched(make_zip(MEMBERS), size=0, offset=0), "another directory", id="no directory"
        ),
        pytest.param(
            end_patched(make_zip(MEMBERS), size=40, offset=0), "can't be read", id="directory too short"
        ),
        pytest.param(make_raw(b"\xff\xff\xff", size=10), "can't be read", id="no deflate stream"),
        pytest.param(make_raw(b"", size=10), "can't be read", id="empty stream"),
        pytest.param(make_raw(deflated(b""), size=10), "can't be read", id="stream without an end"),
        pytest.param(make_raw(TEXT, size=10, directory=bytes(100)), "can't be read", id="directory of zeros"),
    ],
)
def test_refused(refusal: Refusal, content: bytes, sentence: str) -> None:
    """A zip that is incomplete, unusual or not a wheel is refused with the reason."""
    assert sentence in refusal(WHEEL, content)


def test_metadata_of_a_gigabyte(refusal: Refusal) -> None:
    """METADATA of a gigabyte of zeros is refused because of its declared size."""
    content = make_raw(deflated(MEBIBYTE, 1024), size=1 << 30)
    assert len(content) < 3_000_000
    assert str(METADATA_LIMIT) in refusal(WHEEL, content, megabytes=1)


def test_metadata_of_a_gigabyte_that_lies(refusal: Refusal) -> None:
    """METADATA is unpacked only up to its declared size."""
    content = make_raw(deflated(MEBIBYTE, 1024), size=METADATA_LIMIT)
    assert "can't be read" in refusal(WHEEL, content, megabytes=25)


def test_stream_without_content(refusal: Refusal) -> None:
    """A stream of empty blocks, which would only take time, is refused because of its length."""
    empty_block = b"\0\0\0\xff\xff"
    content = make_raw(empty_block * 2_000_000, size=10)
    assert "compressed bytes" in refusal(WHEEL, content, megabytes=1)
    content = make_raw(empty_block * 800_000, size=10)
    assert "can't be read" in refusal(WHEEL, content, megabytes=10)


def make_many(count: int) -> bytes:
    """A wheel of many empty members; the last one is METADATA."""
    local = b"PK\x03\x04" + struct.pack("<5H3L2H", 20, 0, 0, 0, 0x21, 0, 0, 0, 1, 0) + b"a"
    entry = b"PK\x01\x02" + struct.pack("<6H3L5H2L", 20, 20, 0, 0, 0, 0x21, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    entries = b"".join(
        entry[:-4] + struct.pack("<L", number * len(local)) + b"a" for number in range(count - 1)
    )
    metadata = make_raw(deflated(TEXT), size=len(TEXT), crc=zlib.crc32(TEXT))
    start = metadata.index(b"PK\x01\x02")
    stop = metadata.index(b"PK\x05\x06")
    last = patched(metadata[start:stop], PATH, offset=(count - 1) * len(local))
    members = local * (count - 1) + metadata[:start]
    told = count & 0xFFFF
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, told, told, len(entries) + len(last), len(members), 0)
    return members + entries + last + end


def test_as_many_members_as_allowed(read: Read) -> None:
    """The limit itself is allowed."""
    assert read(WHEEL, make_many(MEMBER_LIMIT)).text == TEXT


def test_too_many_members(refusal: Refusal) -> None:
    """200,000 members are counted before zipfile creates objects, whatever the end record says."""
    assert f"at most {MEMBER_LIMIT}" in refusal(WHEEL, make_many(200_000), megabytes=12)


def test_huge_directory(refusal: Refusal) -> None:
    """A directory of many megabytes isn't read."""
    content = make_raw(b"", size=0, directory=bytes(DIRECTORY_LIMIT + 1))
    assert f"at most {DIRECTORY_LIMIT}" in refusal(WHEEL, content, megabytes=1)


@pytest.mark.parametrize(
    ("size", "offset"),
    [(0, 2**62), (2**62, 0), (2**64 - 1, 2**64 - 1), (10, 2**63)],
    ids=["far away", "huge", "largest numbers", "beyond signed"],
)
def test_zip64_directory(refusal: Refusal, size: int, offset: int) -> None:
    """Offsets in zip64 records may be anything; no read leaves the file."""
    plain = make_zip(MEMBERS)
    start = plain.rindex(b"PK\x05\x06")
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start, 1)
    refusal(WHEEL, plain[:start] + record + locator + plain[start:], megabytes=1)


def test_sdist(refusal: Refusal) -> None:
    """The same rules hold for an sdist's zip."""
    content = patched_twice(make_sdist(ending=".zip")[1], "hello_world-1.0/PKG-INFO", flags=1)
    assert "encrypted" in refusal("hello_world-1.0.zip", content)


@settings(max_examples=300)
@given(st.data())
def test_any_damage(data: st.DataObject) -> None:
    """A damaged zip is read or refused. No other exception is raised."""
    filename, whole = make_wheel() if data.draw(st.booleans()) else make_sdist(ending=".zip")
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) - 80, len(content))) :]
    try:
        found = read_metadata(io.BytesIO(content), parse_filename(filename))
    except InvalidRequest:
        return
    assert found.name.normalized == "hello-world"
