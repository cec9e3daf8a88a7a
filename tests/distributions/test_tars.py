"""Hostile tar archives: refused with a sentence, in little memory and bounded time."""

from __future__ import annotations

import bz2
import gzip
import io
import random
import tarfile
import zlib
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyoci.distributions.filenames import parse_filename
from pyoci.distributions.members import MEMBER_LIMIT
from pyoci.distributions.metadata import read_metadata
from pyoci.distributions.tars import BZIP2_LIMITS, EXTENSION_LIMIT, GZIP_LIMITS
from pyoci.errors import InvalidRequest
from tests.builders import make_metadata, make_sdist, make_tar, make_wheel
from tests.distributions.conftest import Read, Refusal

SDIST = "hello_world-1.0.tar.gz"
BZIP2 = "hello_world-1.0.tar.bz2"
PATH = "hello_world-1.0/PKG-INFO"
TEXT = make_metadata()
MEBIBYTE = bytes(1024 * 1024)
END = bytes(1024)
# Makes a large archive in the test: every process that collects tests would make those in a table.
Make = Callable[[], bytes]


def make_header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **fields: object) -> bytes:
    """The header of one member."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.type = kind
    for field, value in fields.items():
        setattr(member, field, value)
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def make_member(name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One member with its content."""
    return make_header(name, len(data), kind) + data + bytes(-len(data) % 512)


def make_pax(*records: tuple[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """A pax header with these records."""
    return make_member("pax", b"".join(make_record(*record) for record in records), kind)


def make_record(keyword: str, value: str) -> bytes:
    """One record. Its length includes the digits of the length."""
    rest = f" {keyword}={value}\n".encode("utf-8", "surrogateescape")
    length = len(rest) + len(str(len(rest) + len(str(len(rest)))))
    return str(length).encode() + rest


def gzipped(*blocks: bytes) -> bytes:
    return gzip.compress(b"".join(blocks), mtime=0)


def bomb(head: bytes, block: bytes, times: int) -> bytes:
    """A gzip stream of `head`, then `block` without end."""
    deflater = zlib.compressobj(9, wbits=31)
    start = deflater.compress(head + block) + deflater.flush(zlib.Z_FULL_FLUSH)
    again = deflater.compress(block) + deflater.flush(zlib.Z_FULL_FLUSH)
    return start + again * times


def bzip2_stream(*parts: bytes, times: int = 1) -> bytes:
    """A bzip2 stream of a block for each part, of which the last is repeated. Blocks begin at any bit."""
    first = [_bzip2_block(part) for part in parts]
    blocks = [*first[:-1], *[first[-1]] * times]
    checksum = 0
    for block in blocks:  # bits 48 to 79 are the block's checksum
        checksum = ((checksum << 1 | checksum >> 31) & 0xFFFFFFFF) ^ int(block[48:80], 2)
    bits = f"{''.join(blocks)}{_BZIP2_END}{checksum:032b}"
    bits += "0" * (-len(bits) % 8)
    return b"BZh9" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def _bzip2_block(content: bytes) -> str:
    """The bits of the only block of that content."""
    stream = bz2.compress(content)[4:]
    bits = f"{int.from_bytes(stream, 'big'):0{len(stream) * 8}b}"
    return bits[: bits.rindex(_BZIP2_END)]


_BZIP2_END = f"{0x177245385090:048b}"
PKG_INFO = make_member(PATH, TEXT)


def written_by_tarfile(layout: int, path: str, link: str = "", mtime: float = 0) -> bytes:
    """An sdist by the standard library in that layout, with a long name, and PKG-INFO last."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", format=layout) as archive:
        for kind in (tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE):
            member = tarfile.TarInfo(f"hello_world-1.0/{kind.decode()}{path}")
            member.type, member.mtime = kind, mtime
            member.linkname = link if kind == tarfile.SYMTYPE else ""
            archive.addfile(member)
        member = tarfile.TarInfo(PATH)
        member.size, member.mtime = len(TEXT), mtime
        archive.addfile(member, io.BytesIO(TEXT))
    return target.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(make_tar({PATH: TEXT}), id="plain"),
        pytest.param(written_by_tarfile(tarfile.USTAR_FORMAT, "/" + "a" * 90 + "/" + "b" * 90), id="ustar"),
        pytest.param(written_by_tarfile(tarfile.GNU_FORMAT, "c" * 300, "d" * 300), id="GNU"),
        pytest.param(written_by_tarfile(tarfile.PAX_FORMAT, "e" * 300, "f" * 300, mtime=0.5), id="pax"),
        pytest.param(written_by_tarfile(tarfile.PAX_FORMAT, "\xe9\udcff"), id="pax, no UTF-8"),
        pytest.param(
            gzipped(make_header("./", kind=tarfile.DIRTYPE), make_member(f"./{PATH}", TEXT), END), id="."
        ),
        pytest.param(gzipped(make_pax(("comment", "a" * 40), kind=tarfile.XGLTYPE), PKG_INFO, END), id="git"),
        pytest.param(gzipped(PKG_INFO), id="no end mark"),
        pytest.param(gzipped(PKG_INFO, END, bytes(8192)), id="end mark and padding"),
        pytest.param(gzipped(PKG_INFO, END) + bytes(1000), id="zeros after the stream"),
        pytest.param(gzipped(make_pax(("path", PATH)), make_member("short", TEXT)), id="name by pax"),
        pytest.param(
            gzipped(
                make_member("@", PATH.encode() + b"\0", tarfile.GNUTYPE_LONGNAME), make_member("x", TEXT)
            ),
            id="name by GNU",
        ),
        pytest.param(
            gzipped(make_pax(("size", str(len(TEXT)))), make_header(PATH), TEXT.ljust(512, b"\0")),
            id="size by pax",
        ),
        pytest.param(
            gzipped(make_header("hello_world-1.0/x", 1 << 30, tarfile.SYMTYPE, linkname="y"), PKG_INFO),
            id="link with a size",
        ),
        pytest.param(gzipped(make_member(PATH, TEXT, tarfile.CONTTYPE)), id="contiguous"),
        pytest.param(gzipped(make_member("hello_world-1.0/x", b"y", b"Z"), PKG_INFO), id="a kind of its own"),
    ],
)
def test_accepted(read: Read, content: bytes) -> None:
    """The archives of all tools are read."""
    assert read(SDIST, content).text == TEXT


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"", "too early", id="empty"),
        pytest.param(b"hello", "as its name says", id="text"),
        pytest.param(make_wheel()[1], "as its name says", id="zip"),
        pytest.param(gzip.compress(b""), "no PKG-INFO", id="gzip of nothing"),
        pytest.param(gzip.compress(b"hello"), "header", id="gzip of text"),
        pytest.param(gzip.compress(b"a" * 512), "header", id="gzip of a block of text"),
        pytest.param(make_tar({PATH: TEXT})[:-1], "too early", id="last byte missing"),
        pytest.param(make_tar({PATH: TEXT})[:50], "too early", id="cut short"),
        pytest.param(make_tar({PATH: TEXT})[:-8] + bytes(8), "as its name says", id="wrong checksum"),
        pytest.param(make_tar({PATH: TEXT}) + b"x", "other data after", id="data after it"),
        pytest.param(
            make_tar({PATH: TEXT}) + bytes(500_000) + b"x", "other data after", id="data far after it"
        ),
        pytest.param(gzipped(PKG_INFO) + gzipped(END), "other data after", id="two streams"),
        pytest.param(gzipped(END, PKG_INFO), "no PKG-INFO", id="PKG-INFO after the end"),
        pytest.param(gzipped(PKG_INFO[:600]), "inside a member", id="tar cut inside PKG-INFO"),
        pytest.param(
            gzipped(PKG_INFO, make_header("hello_world-1.0/x", 999)), "inside a member", id="tar cut short"
        ),
        pytest.param(gzipped(PKG_INFO, PKG_INFO), "twice", id="PKG-INFO twice"),
        pytest.param(
            gzipped(make_header(PATH, kind=tarfile.SYMTYPE, linkname="x")), "a link", id="symbolic link"
        ),
        pytest.param(
            gzipped(make_header(PATH, kind=tarfile.LNKTYPE, linkname="x")), "a link", id="hard link"
        ),
        pytest.param(gzipped(make_header(PATH, kind=tarfile.CHRTYPE)), "a device", id="device"),
        pytest.param(gzipped(make_header(PATH, kind=tarfile.FIFOTYPE)), "a device", id="pipe"),
        pytest.param(gzipped(make_header(PATH, kind=tarfile.DIRTYPE)), "a folder", id="folder"),
        pytest.param(gzipped(make_member(PATH, TEXT, b"Z")), "regular file", id="unknown kind"),
        pytest.param(gzipped(make_member(PATH, TEXT, tarfile.GNUTYPE_SPARSE)), "holes", id="sparse"),
        pytest.param(gzipped(make_header(PATH, -1)), "size", id="negative size"),
        pytest.param(gzipped(make_header("h/x", -(1 << 40))), "size", id="very negative size"),
        pytest.param(
            gzipped(make_header("pax", -512, tarfile.XHDTYPE)), "too large tar headers", id="pax of -512"
        ),
        pytest.param(gzipped(make_header(PATH, 1 << 60)), "at most", id="huge PKG-INFO"),
        pytest.param(gzipped(make_header("h/x", 1 << 60)), "inside a member", id="huge member"),
        pytest.param(gzipped(make_pax(("size", "-5")), PKG_INFO), "pax header", id="pax with negative size"),
        pytest.param(
            gzipped(make_pax(("size", "9" * 5000)), PKG_INFO), "pax header", id="pax with endless size"
        ),
        pytest.param(
            gzipped(make_pax(("size", "\u0661")), PKG_INFO), "pax header", id="pax with other digits"
        ),
        pytest.param(gzipped(make_pax(("path", "../x")), PKG_INFO), "stay inside", id="pax that leads out"),
        pytest.param(
            gzipped(make_pax(("path", PATH), kind=tarfile.XGLTYPE), PKG_INFO), "one name", id="a name for all"
        ),
        pytest.param(gzipped(make_pax(("comment", "x"))), "no PKG-INFO", id="pax and nothing"),
        pytest.param(
            gzipped(make_pax(("path", "a/b")), make_pax(("path", PATH)), PKG_INFO),
            "two names",
            id="two names",
        ),
        *(
            pytest.param(
                gzipped(make_member("pax", data, tarfile.XHDTYPE), PKG_INFO), "pax header", id=f"pax {data!r}"
            )
            for data in (
                b"x",
                b"0 a=\n",
                b"5",
                b"5 ",
                b"5 a=b",
                b"6 a=b\nx",
                b"99 a=b\n",
                b"-5 a=\n",
                b"1 a=\n",
                b"2 =",
            )
        ),
        pytest.param(
            gzipped(make_member("pax", b"9" * 5000 + b" a=b\n", tarfile.XHDTYPE)),
            "pax header",
            id="pax of digits",
        ),
    ],
)
def test_refused(refusal: Refusal, content: bytes, sentence: str) -> None:
    """A tar.gz that is incomplete, unusual or not an sdist is refused with the reason."""
    assert sentence in refusal(SDIST, content)


def test_tgz(read: Read) -> None:
    """It is a tar.gz."""
    assert read("hello_world-1.0.tgz", gzipped(PKG_INFO)).text == TEXT


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: make_tar({PATH: TEXT}, ".tar.bz2"), id="plain"),
        pytest.param(lambda: bz2.compress(PKG_INFO + END, 1), id="small blocks"),
        pytest.param(lambda: bz2.compress(PKG_INFO), id="no end mark"),
        pytest.param(lambda: bz2.compress(PKG_INFO + END) + bytes(500_000), id="zeros after the stream"),
        pytest.param(
            lambda: bz2.compress(
                make_member("hello_world-1.0/x", random.Random(1).randbytes(3_000_000)) + PKG_INFO + END
            ),
            id="several blocks",
        ),
        pytest.param(
            lambda: bz2.compress(make_header("hello_world-1.0/x", 60 << 20) + MEBIBYTE * 60 + PKG_INFO + END),
            id="within bounds",
        ),
        pytest.param(
            lambda: bzip2_stream(PKG_INFO, make_header("hello_world-1.0/x"), times=100), id="many blocks"
        ),
    ],
)
def test_bzip2(read: Read, make: Make) -> None:
    """PyPI serves old sdists in bzip2."""
    assert read(BZIP2, make()).text == TEXT


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        pytest.param(lambda: b"", "ends too early; expected a whole tar.bz2", id="empty"),
        pytest.param(lambda: b"BZh9", "too early", id="head only"),
        pytest.param(lambda: b"hello", "expected a tar.bz2, as its name says", id="text"),
        pytest.param(lambda: gzipped(PKG_INFO), "expected a tar.bz2, as its name says", id="gzip"),
        pytest.param(lambda: make_wheel()[1], "as its name says", id="zip"),
        pytest.param(lambda: bz2.compress(b""), "no PKG-INFO", id="bzip2 of nothing"),
        pytest.param(lambda: bz2.compress(b"a" * 512), "header", id="bzip2 of text"),
        pytest.param(lambda: bz2.compress(PKG_INFO + END)[:-1], "too early", id="last byte missing"),
        pytest.param(lambda: bz2.compress(PKG_INFO + END)[:50], "too early", id="cut short"),
        pytest.param(
            lambda: bz2.compress(PKG_INFO + END)[:-4] + bytes(4), "as its name says", id="wrong checksum"
        ),
        pytest.param(
            lambda: bz2.compress(PKG_INFO + END) + b"x", "after its bzip2 stream", id="data after it"
        ),
        pytest.param(
            lambda: bz2.compress(PKG_INFO + END) + bytes(500_000) + b"x",
            "after its bzip2 stream",
            id="data far after it",
        ),
        pytest.param(
            lambda: bz2.compress(PKG_INFO) + bz2.compress(END), "after its bzip2 stream", id="two streams"
        ),
        pytest.param(
            lambda: bz2.compress(PKG_INFO) + bz2.compress(b"") * 100_000,
            "after its bzip2 stream",
            id="empty streams",
        ),
        pytest.param(lambda: bz2.compress(PKG_INFO[:600]), "inside a member", id="tar cut inside PKG-INFO"),
        pytest.param(lambda: bz2.compress(PKG_INFO + PKG_INFO), "twice", id="PKG-INFO twice"),
        pytest.param(lambda: bz2.compress(make_header(PATH, 1 << 60)), "at most", id="huge PKG-INFO"),
        pytest.param(
            lambda: bzip2_stream(PKG_INFO, make_header("hello_world-1.0/x") * 1000, times=200),
            str(MEMBER_LIMIT),
            id="too many members",
        ),
    ],
)
def test_bzip2_refused(refusal: Refusal, make: Make, sentence: str) -> None:
    """For the same reasons as a tar.gz. A block of bzip2 needs 3.6 MB."""
    assert sentence in refusal(BZIP2, make(), megabytes=7)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(PKG_INFO + make_header("hello_world-1.0/x", 10 << 30), id="a member"),
        pytest.param(PKG_INFO + END, id="after the end"),
    ],
)
def test_bzip2_bomb(refusal: Refusal, head: bytes) -> None:
    """Ten gigabytes of zeros in 400 kB are unpacked only as far as the limit, which is lower than that of
    gzip.
    """
    content = bzip2_stream(head, MEBIBYTE, times=10 * 1024)
    assert len(content) < 600_000
    limit = BZIP2_LIMITS.of(len(content))
    assert limit < GZIP_LIMITS.minimum
    assert f"over {limit} bytes" in refusal(BZIP2, content, megabytes=7)


def test_bzip2_by_the_name_of_a_gzip(refusal: Refusal) -> None:
    """The ending of the file name says which of them it is."""
    assert "expected a tar.gz, as its name says" in refusal(SDIST, bz2.compress(PKG_INFO))


def test_bomb(refusal: Refusal) -> None:
    """Ten gigabytes of zeros are unpacked only as far as the upload's size allows."""
    content = bomb(make_header("hello_world-1.0/x", 10 << 30), MEBIBYTE, 10 * 1024)
    limit = GZIP_LIMITS.of(len(content))
    assert limit < 1 << 30
    assert f"over {limit} bytes" in refusal(SDIST, content)


def test_bomb_after_the_end(refusal: Refusal) -> None:
    """Bytes after the end mark count, too."""
    assert "unpacks to over" in refusal(SDIST, bomb(PKG_INFO + END, MEBIBYTE, 2 * 1024))


def test_within_bounds(read: Read) -> None:
    """An sdist of any size may unpack to 200 MiB."""
    content = gzipped(PKG_INFO, make_header("hello_world-1.0/x", 200 << 20), *[MEBIBYTE] * 200)
    assert len(content) < 1 << 20
    assert read(SDIST, content).text == TEXT


def test_pax_bomb(refusal: Refusal) -> None:
    """A pax header of a gigabyte is refused because of its declared size."""
    content = bomb(make_header("pax", 1 << 30, tarfile.XHDTYPE), MEBIBYTE, 1024)
    assert str(EXTENSION_LIMIT) in refusal(SDIST, content)


def test_many_small_pax_headers(refusal: Refusal) -> None:
    """All extension headers together have one limit."""
    block = make_pax(("comment", "x" * 90_000)) + make_member("hello_world-1.0/x", b"")
    assert str(EXTENSION_LIMIT) in refusal(SDIST, bomb(b"", block, EXTENSION_LIMIT // 90_000 + 1))


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE], ids=repr
)
def test_long_names(refusal: Refusal, kind: bytes) -> None:
    """GNU's long names and global headers count for the same limit."""
    assert str(EXTENSION_LIMIT) in refusal(SDIST, bomb(make_header("x", 1 << 30, kind), MEBIBYTE, 64))


def test_chain_of_pax_headers(read: Read) -> None:
    """Extension headers without members are limited, and don't recurse."""
    content = bomb(b"", make_header("pax", 0, tarfile.XHDTYPE) * 1000, MEMBER_LIMIT // 1000)
    with pytest.raises(InvalidRequest, match=str(MEMBER_LIMIT)):
        read(SDIST, content)


def test_too_many_members(read: Read) -> None:
    """200,000 members are too many."""
    content = bomb(PKG_INFO, make_header("hello_world-1.0/x") * 1000, 200)
    with pytest.raises(InvalidRequest, match=str(MEMBER_LIMIT)):
        read(SDIST, content)


def test_members_are_not_kept(refusal: Refusal) -> None:
    """Memory grows neither with the members nor with their extension headers."""
    block = make_pax(("path", "hello_world-1.0/" + "x" * 400)) + make_header("x")
    assert "no PKG-INFO" in refusal(SDIST, gzipped(block * 10_000), megabytes=3)


def test_as_many_members_as_allowed(read: Read) -> None:
    """The limit itself is allowed."""
    content = gzipped(PKG_INFO, make_header("hello_world-1.0/x") * (MEMBER_LIMIT - 1))
    assert read(SDIST, content).text == TEXT


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: b"\x1f\x8b\x08\x08" + bytes(5) + b"\xff" + b"a" * 20_000_000, id="file name"),
        pytest.param(
            lambda: b"\x1f\x8b\x08\x00" + bytes(5) + b"\xff" + b"\0\0\0\xff\xff" * 4_000_000,
            id="empty blocks",
        ),
        pytest.param(lambda: gzip.compress(b"") * 1_000_000, id="empty streams"),
    ],
)
def test_gzip_without_content(refusal: Refusal, make: Make) -> None:
    """Empty gzip headers, blocks or streams take time only in proportion to their bytes."""
    refusal(SDIST, make())


@settings(max_examples=300)
@given(st.data())
def test_any_damage(data: st.DataObject) -> None:
    """A damaged sdist, inside or outside its compressed stream, is read or refused."""
    module = data.draw(st.sampled_from([gzip, bz2]))
    filename, whole = make_sdist(ending=".tar.gz" if module is gzip else ".tar.bz2")
    inside = data.draw(st.booleans())
    content = bytearray(module.decompress(whole) if inside else whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = module.compress(content, 1) if inside else bytes(content)
    try:
        found = read_metadata(io.BytesIO(damaged), parse_filename(filename))
    except InvalidRequest:
        return
    assert found.name.normalized == "hello-world"


_blocks = st.one_of(
    st.builds(
        make_header,
        st.sampled_from([PATH, "hello_world-1.0/x", "hello_world-1.0", "pax"]),
        st.integers(-600, 1100),
        st.sampled_from([bytes([byte]) for byte in b"\x000123456789gxXLKSDMNVAZ"]),
    ),
    st.builds(make_pax, st.tuples(st.sampled_from(["path", "size", "mtime"]), st.text(max_size=20))),
    st.sampled_from([PKG_INFO, bytes(512), b"x" * 512, TEXT]),
)


@settings(max_examples=300)
@given(st.lists(_blocks, max_size=8))
def test_any_blocks(blocks: Iterable[bytes]) -> None:
    """A tar of any blocks is read or refused."""
    try:
        found = read_metadata(io.BytesIO(gzipped(*blocks)), parse_filename(SDIST))
    except InvalidRequest:
        return
    assert found.text
