"""Hostile archives, as an uploader could send them. Each is made when it is requested."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.builders import make_metadata, make_sdist, make_wheel, make_zip
from tests.distributions import test_zip_layout as layouts
from tests.distributions.test_tars import (
    END,
    PKG_INFO,
    bomb,
    bzip2_stream,
    gzipped,
    make_header,
    make_member,
    make_pax,
)
from tests.distributions.test_zips import deflated, make_many, make_raw, patched, patched_twice

WHEEL = "hello_world-1.0-py3-none-any.whl"
SDIST = "hello_world-1.0.tar.gz"
BZIP2 = "hello_world-1.0.tar.bz2"
METADATA = "hello_world-1.0.dist-info/METADATA"
TOP = "hello_world-1.0/"
TEXT = make_metadata()
MEBIBYTE = bytes(1024 * 1024)
GIBIBYTE = 1024 * 1024 * 1024
TAKEN = 200
REFUSED = 400

Make = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive, and the expected result: `sentence` is part of the message to its uploader."""

    filename: str
    make: Make = field(repr=False)
    status: int = REFUSED
    sentence: str = "expected"


def _with_pkg_info(kind: bytes) -> bytes:
    return gzipped(make_header(f"{TOP}PKG-INFO", 0, kind), END)


def wheel(make: Make, sentence: str = "expected") -> Archive:
    return Archive(WHEEL, make, REFUSED, sentence)


def sdist(make: Make, sentence: str = "expected") -> Archive:
    return Archive(SDIST, make, REFUSED, sentence)


def fine(archive: Archive) -> Archive:
    """It looks worse than it is: parts that aren't read harm nobody."""
    return Archive(archive.filename, archive.make, TAKEN, "is published")


def make_wheel_with(path: str = "x", data: bytes = b"x", **fields: int) -> bytes:
    """A wheel with another member, for which the directory has `fields`."""
    content = make_zip({"hello_world.py": b"", METADATA: TEXT, path: data})
    return patched(content, path, **fields) if fields else content


def make_wheel_of(metadata: bytes) -> bytes:
    return make_zip({METADATA: metadata})


def make_wheel_beside(stream: bytes, size: int) -> bytes:
    """A valid wheel with another member of this deflate stream."""
    first = make_raw(stream, size=size)
    local, entry = _halves(first, b"x" * len(METADATA))
    second_local, second_entry = _halves(make_raw(_packed(TEXT), size=len(TEXT), crc=zlib.crc32(TEXT)))
    second_entry = second_entry[:42] + struct.pack("<L", len(local)) + second_entry[46:]
    return _joined(local + second_local, entry + second_entry, count=2)


def make_overlapping(count: int) -> bytes:
    """A wheel in which `count` members share one stream."""
    local, entry = _halves(make_raw(deflated(MEBIBYTE, 1024), size=GIBIBYTE))
    return _joined(local, entry * count, count)


def make_compressed_by(method: int) -> bytes:
    """A wheel whose METADATA is compressed by another method, or only claims to be."""
    if method == _ZSTANDARD:
        return patched_twice(make_wheel_of(TEXT), METADATA, method=method)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr(METADATA, TEXT)
    return target.getvalue()


def truncated(content: bytes, tenths: int) -> bytes:
    return content[: len(content) * tenths // 10]


def headers(count: int, line: bytes = b"X: y\n") -> bytes:
    return make_wheel_of(TEXT[:-1] + line * count)


def _packed(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def _joined(members: bytes, directory: bytes, count: int) -> bytes:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(members), 0)
    return members + directory + end


def _halves(content: bytes, name: bytes | None = None) -> tuple[bytes, bytes]:
    """The members and the directory of a zip of one member; under another name of the same length."""
    start, stop = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    local, entry = content[:start], content[start:stop]
    if name is not None:
        local = local.replace(METADATA.encode(), name, 1)
        entry = entry.replace(METADATA.encode(), name, 1)
    return local, entry


_ZSTANDARD = 93
_LINK = (stat.S_IFLNK | 0o777) << 16
_BIG = bytes(range(256)) * 4096

ZIPS = {
    "a member of 4 GB": fine(wheel(lambda: make_wheel_beside(deflated(MEBIBYTE, 4000), GIBIBYTE * 4 - 1))),
    "METADATA of 1 GB": wheel(lambda: make_raw(deflated(MEBIBYTE, 1024), size=GIBIBYTE), "4194304"),
    "METADATA of 10 GB that says 10": wheel(lambda: make_raw(deflated(MEBIBYTE, 10240), size=10)),
    "METADATA of 1 GB that says 4 MB": wheel(lambda: make_raw(deflated(MEBIBYTE, 1024), size=4 << 20)),
    "an endless stream": wheel(lambda: make_raw(deflated(b"x"), size=10), "can't be read"),
    "a stream of empty blocks": wheel(lambda: make_raw(b"\0\0\0\xff\xff" * 5_000_000, size=10)),
    "nested": fine(
        wheel(lambda: make_wheel_with("a.zip", make_zip({"b.zip": make_wheel_of(bytes(1 << 20))})))
    ),
    "overlapping": wheel(lambda: make_overlapping(2), "overlaps"),
    "overlapping, 10,000": wheel(lambda: make_overlapping(10_000), "overlaps"),
    "as many members as allowed": fine(wheel(lambda: make_many(100_000))),
    "a million members": wheel(lambda: make_many(1_000_000)),
    "a name with ..": wheel(lambda: make_wheel_with("a/../../x"), "stay inside"),
    "an absolute name": wheel(lambda: make_wheel_with("/etc/passwd"), "stay inside"),
    "a link as METADATA": wheel(lambda: patched(make_wheel_of(TEXT), METADATA, attributes=_LINK), "link"),
    "a link elsewhere": fine(wheel(lambda: make_wheel_with("x", attributes=_LINK))),
    "encrypted": wheel(lambda: patched_twice(make_wheel_of(TEXT), METADATA, flags=1), "encrypted"),
    "bzip2": wheel(lambda: make_compressed_by(zipfile.ZIP_BZIP2), "method 12"),
    "lzma": wheel(lambda: make_compressed_by(zipfile.ZIP_LZMA), "method 14"),
    "zstandard": wheel(lambda: make_compressed_by(_ZSTANDARD), "method 93"),
    "wrong checksum": wheel(lambda: patched_twice(make_wheel_of(TEXT), METADATA, crc=1), "can't be read"),
    "an offset far away": wheel(lambda: patched(make_wheel_of(TEXT), METADATA, offset=2**31)),
    "zip64 that isn't there": wheel(lambda: patched(make_wheel_of(TEXT), METADATA, offset=2**32 - 1)),
    "a size of zip64": wheel(lambda: patched(make_wheel_of(TEXT), METADATA, size=2**32 - 1)),
    "two zips in a row": wheel(lambda: make_wheel_of(TEXT) + make_wheel_of(TEXT)),
    "an sdist's tar": wheel(lambda: make_sdist()[1], "not a zip"),
    "nothing": wheel(lambda: b""),
    "zeros": wheel(lambda: bytes(1_000_000)),
    **{
        f"read in two ways: {what}": wheel(partial(bytes, content), sentence)
        for what, (content, sentence) in layouts.REFUSED.items()
    },
}

METADATAS = {
    "a million headers": wheel(lambda: headers(1_000_000)),
    "a header of 100 MB": wheel(lambda: headers(1, b"X: " + bytes(100_000_000) + b"\n")),
    "a header of 3 MB": wheel(lambda: headers(1, b"X: " + b"x" * 3_000_000 + b"\n"), "too long headers"),
    "a boundary of 1 MB": fine(
        wheel(lambda: headers(1, b"Content-Type: multipart/x; boundary=" + b"b" * 10**6 + b"\n"))
    ),
    "a specifier of 1 MB": fine(
        wheel(lambda: headers(1, b"Requires-Python: " + b">=3," * 250_000 + b">3\n"))
    ),
    "a version of 1 MB": wheel(
        lambda: make_wheel_of(b"Name: hello-world\nVersion: " + b"1." * 500_000 + b"0\n"), "PEP 440"
    ),
    "a folded header": fine(wheel(lambda: headers(1, b"Summary: a\n" + b" b\n" * 40_000))),
    "classifiers": fine(wheel(lambda: headers(40_000, b"Classifier: a\n"))),
    "NUL in a header": fine(wheel(lambda: headers(1, b"Summary: a\0b\n"))),
    "NUL in the name": wheel(
        lambda: make_wheel_of(b"Name: hello\0world\nVersion: 1.0\n"), "not a project name"
    ),
    "not UTF-8": fine(wheel(lambda: headers(1000, b"Author: \xff\xfe\n"))),
    "UTF-16": wheel(lambda: make_wheel_of(TEXT.decode().encode("utf-16"))),
    "binary": wheel(lambda: make_wheel_of(_BIG)),
}

TARS = {
    "10 GB of zeros": sdist(
        lambda: bomb(PKG_INFO + make_header(f"{TOP}x", 10 << 30), MEBIBYTE, 10240), "unpacks to over"
    ),
    "PKG-INFO of 1 GB": sdist(
        lambda: bomb(make_header(f"{TOP}PKG-INFO", GIBIBYTE), MEBIBYTE, 1024), "4194304"
    ),
    "a pax header of 1 GB": sdist(
        lambda: bomb(make_header("x", GIBIBYTE, tarfile.XHDTYPE), MEBIBYTE, 1024), "too large tar headers"
    ),
    "a long name of 1 GB": sdist(
        lambda: bomb(make_header("x", GIBIBYTE, tarfile.GNUTYPE_LONGNAME), MEBIBYTE, 1024),
        "too large tar headers",
    ),
    "a global header with a name": sdist(
        lambda: gzipped(make_pax(("path", "x"), kind=tarfile.XGLTYPE), PKG_INFO, END)
    ),
    "a million members": sdist(
        lambda: bomb(PKG_INFO, make_header(f"{TOP}x") * 1000, 1000), "too many members"
    ),
    "a name with ..": sdist(lambda: gzipped(PKG_INFO, make_member(f"{TOP}../../x", b""), END), "stay inside"),
    "an absolute name": sdist(lambda: gzipped(PKG_INFO, make_member("/etc/passwd", b""), END), "stay inside"),
    "a name with .. by pax": sdist(
        lambda: gzipped(PKG_INFO, make_pax(("path", "../x")), make_member("x", b""), END), "stay inside"
    ),
    **{
        f"PKG-INFO is a {what}": sdist(partial(_with_pkg_info, kind), "expected a regular file")
        for what, kind in {
            "symbolic link": tarfile.SYMTYPE,
            "hard link": tarfile.LNKTYPE,
            "character device": tarfile.CHRTYPE,
            "block device": tarfile.BLKTYPE,
            "fifo": tarfile.FIFOTYPE,
            "folder": tarfile.DIRTYPE,
        }.items()
    },
    "devices": fine(
        sdist(
            lambda: gzipped(
                PKG_INFO,
                make_header(f"{TOP}x", 0, tarfile.CHRTYPE),
                make_header(f"{TOP}y", 0, tarfile.FIFOTYPE),
                END,
            )
        )
    ),
    "a sparse file": sdist(
        lambda: gzipped(PKG_INFO, make_header(f"{TOP}x", 0, tarfile.GNUTYPE_SPARSE), END), "holes"
    ),
    "many gzip streams": sdist(
        lambda: make_sdist()[1] + gzip.compress(b"", mtime=0) * 500_000, "after its gzip stream"
    ),
    "an endless gzip header": sdist(lambda: b"\x1f\x8b\x08\x08" + bytes(5) + b"\xff" + b"a" * 30_000_000),
    "empty blocks": sdist(lambda: b"\x1f\x8b\x08\x00" + bytes(5) + b"\xff" + b"\0\0\0\xff\xff" * 6_000_000),
    "10 GB of zeros in bzip2": Archive(
        BZIP2,
        lambda: bzip2_stream(PKG_INFO + make_header(f"{TOP}x", 10 << 30), MEBIBYTE, times=10240),
        sentence="unpacks to over",
    ),
    "a million members in bzip2": Archive(
        BZIP2,
        lambda: bzip2_stream(PKG_INFO, make_header(f"{TOP}x") * 1000, times=1000),
        sentence="too many members",
    ),
    "many bzip2 streams": Archive(
        BZIP2,
        lambda: make_sdist(ending=".tar.bz2")[1] + bz2.compress(b"") * 500_000,
        sentence="after its bzip2 stream",
    ),
    "bzip2": sdist(lambda: bz2.compress(gzip.decompress(make_sdist()[1]))),
    "lzma": sdist(lambda: lzma.compress(gzip.decompress(make_sdist()[1]))),
    "not packed": sdist(lambda: gzip.decompress(make_sdist()[1])),
    "a wheel": sdist(lambda: make_wheel()[1]),
    "nothing": sdist(lambda: b""),
}

CUT = {
    f"{kind}, {tenths} tenths": Archive(filename, partial(truncated, content, tenths))
    for kind, (filename, content) in {
        "wheel": make_wheel(),
        "tar.gz": make_sdist(),
        "tar.bz2": make_sdist(ending=".tar.bz2"),
        "zip": make_sdist(ending=".zip"),
    }.items()
    for tenths in range(10)
}
