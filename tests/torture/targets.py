"""What the fuzzer feeds: each target ends in peace or raises a kind of pyoci.errors; all else is a find.

Runs without the fuzzer too: tests/flows/test_fuzzed.py plays what it has found.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pyoci.distributions.filenames import Wheel, parse_filename
from pyoci.distributions.metadata import read_distant_metadata, read_metadata
from pyoci.errors import PyOCIError
from pyoci.store.writing.incoming import IncomingFile
from pyoci.web.body import Patience, RequestBody
from pyoci.web.upload import received
from tests.builders import make_metadata, make_sdist, make_wheel

LIMIT = 100_000  # bytes of a form
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPOOL = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nameless files in it
WHEEL_NAME, WHEEL_BYTES = make_wheel()
SDIST_NAME, SDIST_BYTES = make_sdist()
ZIP_NAME, ZIP_BYTES = make_sdist(ending=".zip")
BLOCK = 512  # bytes, of a tar


def form(data: bytes) -> None:
    """An upload form. Its first byte says how it is sent."""
    how, body = data[:1] or b"\0", data[1:]
    content_type = "multipart/form-data; boundary=b"
    if how[0] & 1:
        line, _, body = body.partition(b"\n")
        content_type = line.decode("latin-1")
    environ: dict[str, object] = {"wsgi.input": _Trickle(body, 1 + (how[0] >> 4))}
    if how[0] & 2:
        environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    else:
        environ["CONTENT_LENGTH"] = str(len(body) + (how[0] & 4))
    with suppress(PyOCIError), received(RequestBody(environ, Patience()), content_type, LIMIT, SPOOL) as it:
        arrival = IncomingFile(it, NOW)
        arrival.file()
        repr((arrival.distribution, it.ignored))


def wheel(data: bytes) -> None:
    """The bytes of a wheel."""
    named = parse_filename(WHEEL_NAME)
    assert isinstance(named, Wheel)
    with suppress(PyOCIError):
        read_metadata(io.BytesIO(data), named)
    with suppress(PyOCIError):
        read_distant_metadata(io.BytesIO(data), named)


def zipped(data: bytes) -> None:
    """The bytes of an sdist that is a zip."""
    with suppress(PyOCIError):
        read_metadata(io.BytesIO(data), parse_filename(ZIP_NAME))


def tar(data: bytes) -> None:
    """The bytes of a tar, whose headers get the checksums that they should have."""
    mended = bytearray(data)
    for start in range(0, len(data) - BLOCK + 1, BLOCK):
        if data[start + 257 : start + 262] == b"ustar":
            mended[start + 148 : start + 156] = b" " * 8
            mended[start + 148 : start + 156] = b"%06o\0 " % sum(mended[start : start + BLOCK])
    with suppress(PyOCIError):
        read_metadata(io.BytesIO(gzip.compress(bytes(mended), 0)), parse_filename(SDIST_NAME))


def gzipped(data: bytes) -> None:
    """The bytes of an sdist that is a tar.gz."""
    with suppress(PyOCIError):
        read_metadata(io.BytesIO(data), parse_filename(SDIST_NAME))


def metadata(data: bytes) -> None:
    """METADATA in a wheel that is all right."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("hello_world-1.0.dist-info/METADATA", data)
    with suppress(PyOCIError):
        found = read_metadata(target, parse_filename(WHEEL_NAME))
        repr((found, found.is_utf8))


@dataclass(frozen=True, slots=True)
class Target:
    """What is fed, and what the fuzzer begins with."""

    feed: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _form(*parts: tuple[str, bytes]) -> bytes:
    lines = b"".join(
        b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + body + b"\r\n"
        for head, body in parts
    )
    return lines + b"--b--\r\n"


FIELDS = (
    ('name=":action"', b"file_upload"),
    ('name="protocol_version"', b"1"),
    ('name="name"', b"hello-world"),
    ('name="version"', b"1.0"),
)
CONTENT = (f'name="content"; filename="{WHEEL_NAME}"', WHEEL_BYTES)
MORE = (
    ('name="sha256_digest"', b"0" * 64),
    ('name="project_urls"', b"Home, https://example.org"),
    ('name="attestations"', b"[]"),
)
HEADERS = make_metadata(
    requires=["requests; python_version < '4'"],
    requires_python=">=3.9",
    extra_headers=[("Project-URL", "Home, https://example.org"), ("Classifier", "Private :: Do Not Upload")],
    body="A text.\n",
)
FORMS = (_form(*FIELDS, CONTENT), _form(*FIELDS, *MORE, CONTENT), _form(CONTENT, *FIELDS), _form(*FIELDS))
TARGETS = {
    "form": Target(
        form,
        (
            *(b"\xf0" + form for form in FORMS),
            b"\x42" + FORMS[0],
            b"\xf1multipart/form-data; boundary=b\n" + FORMS[1],
        ),
    ),
    "wheel": Target(wheel, (WHEEL_BYTES,)),
    "zipped": Target(zipped, (ZIP_BYTES,)),
    "tar": Target(tar, (gzip.decompress(SDIST_BYTES),)),
    "gzipped": Target(gzipped, (SDIST_BYTES,)),
    "metadata": Target(metadata, (HEADERS, HEADERS.replace(b"\n", b"\r\n"))),
}


class _Trickle(io.RawIOBase):
    """Bytes that come a few at a time: `pieces` sixteenths of 4 kB."""

    def __init__(self, data: bytes, pieces: int) -> None:
        super().__init__()
        self._source, self._size = io.BytesIO(data), pieces * 256

    def read(self, size: int = -1, /) -> bytes:
        return self._source.read(self._size if size < 0 else min(size, self._size))
