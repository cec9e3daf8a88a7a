"""Reading bodies: gzip, and the sizes of pieces."""

from __future__ import annotations

import gzip
import subprocess
import sys

import pytest

from pyoci.errors import AnswerTooLong, ProtocolError
from pyoci.net.messages import Answer
from pyoci.net.reading import PieceSize, decoded
from tests.clock import Clock
from tests.net.conftest import MakeTransport
from tests.net.servers import Server, always, answer
from tests.net.test_transport import make_call

TEXT = b"text " * 1000
PACKED = gzip.compress(TEXT)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("", TEXT, id="not packed"),
        pytest.param("Identity", TEXT, id="identity"),
        pytest.param("gzip", PACKED, id="gzip"),
        pytest.param(" X-GZip ", PACKED, id="by its old name"),
        pytest.param("gzip", PACKED + PACKED, id="two members"),
    ],
)
def test_a_body_is_unpacked(coding: str, body: bytes) -> None:
    """Up to the last byte that is allowed."""
    found = decoded(Answer(200, {"content-encoding": coding}, body), len(TEXT), "it")
    assert found == (TEXT, PACKED if body == PACKED else None)


@pytest.mark.parametrize(
    ("coding", "body", "says"),
    [
        pytest.param("br", b"x", "it sent an answer with an unrequested compression", id="another packing"),
        pytest.param("gzip, gzip", PACKED, "unrequested compression", id="packed twice"),
        pytest.param("gzip", b"x", "can't be decompressed", id="no gzip"),
        pytest.param("gzip", b"", "can't be decompressed", id="nothing"),
        pytest.param("gzip", PACKED[:-1], "can't be decompressed", id="cut short"),
        pytest.param("gzip", PACKED[:3] + b"\x80" + PACKED[4:], "can't be", id="a flag of the future"),
        pytest.param("gzip", PACKED[:-8] + b"\x00" + PACKED[-7:], "can't be", id="another checksum"),
        pytest.param("gzip", gzip.compress(b"x" * 5001), "more than 5000 bytes", id="a byte too much"),
        pytest.param("gzip", gzip.compress(bytes(10**7)), "more than 5000 bytes", id="a bomb"),
        pytest.param("", b"x" * 5001, "more than 5000 bytes", id="too much, not packed"),
    ],
)
def test_invalid_body_is_refused(coding: str, body: bytes, says: str) -> None:
    """With one sentence, and without unpacking more than is allowed."""
    with pytest.raises(ProtocolError, match=says):
        decoded(Answer(200, {"content-encoding": coding}, body), 5000, "it")


@pytest.mark.parametrize(
    ("coding", "body"),
    [pytest.param("", TEXT, id="not packed"), pytest.param("gzip", PACKED, id="gzip")],
)
def test_the_beginning_of_a_long_body_is_watched(coding: str, body: bytes) -> None:
    """Up to the byte that is too many."""
    pieces: list[bytes] = []
    with pytest.raises(AnswerTooLong):
        decoded(Answer(200, {"content-encoding": coding}, body), 100, "it", pieces.append)
    assert pieces == [TEXT[:101]]


@pytest.mark.parametrize("count", [1, 255, 256, 257, 10_000])
def test_a_large_body_is_unpacked_in_pieces(count: int) -> None:
    """Each is given to whoever watches. Other threads go on between them."""
    text, pieces = (bytes(range(256)) * 4 * count), list[bytes]()
    packed = gzip.compress(text)
    found = decoded(Answer(200, {"content-encoding": "gzip"}, packed), len(text), "it", pieces.append)
    assert found == (text, packed)
    assert b"".join(pieces) == text
    assert max(map(len, pieces)) <= 256 * 1024


def test_unpacking_ends_when_the_watcher_refuses_a_piece() -> None:
    """Before the rest is unpacked."""

    def watch(piece: bytes) -> None:
        sizes.append(len(piece))
        if len(sizes) == 3:
            raise ProtocolError("that is enough")

    sizes = list[int]()
    with pytest.raises(ProtocolError, match="that is enough"):
        decoded(Answer(200, {"content-encoding": "gzip"}, gzip.compress(bytes(10**7))), 10**8, "it", watch)
    assert sum(sizes) <= 3 * 256 * 1024


READS = """
import gzip, hashlib, sys
if sys.argv[1:] == ["without"]:
    sys.modules["isal"] = None
from pyoci.errors import ProtocolError
from pyoci.net import reading
from pyoci.net.messages import Answer
text = b"".join(b"%d " % (n * n) for n in range(100_000))
packed = gzip.compress(text, mtime=0)
flipped = [(n, bit) for bit in (1, 64) for n in range(10)] + [(1000, 8), (len(packed) - 6, 8)]
bodies = [packed, packed + packed, packed + b"more", b"", packed[:-1], packed[:1000], packed[1:]]
bodies += [packed[:n] + bytes([packed[n] ^ bit]) + packed[n + 1 :] for n, bit in flipped]
for body in bodies:
    try:
        found = reading.decoded(Answer(200, {"content-encoding": "gzip"}, body), len(text), "it")
    except ProtocolError as exc:
        print(exc.message)
    else:
        print(hashlib.sha256(found.body).hexdigest(), found.gzip is not None)
print("isal.isal_zlib" in sys.modules)
"""


def test_decompression_with_and_without_isal() -> None:
    """The same bodies are read, and the same are refused, whether the extra is installed or not."""
    (*read, with_isal), (*expected, without_isal) = (
        subprocess.run(
            [sys.executable, "-c", READS, word], capture_output=True, text=True, timeout=60, check=True
        ).stdout.splitlines()
        for word in ("with", "without")
    )
    assert (with_isal, without_isal) == ("True", "False")
    assert read == expected
    assert len(set(read)) == 3


def test_call_that_accepts_gzip_gets_it(make_transport: MakeTransport) -> None:
    """The body is returned as it was sent."""
    with Server(always(answer(PACKED, "200 OK", "Content-Encoding: gzip"))) as server:
        found = make_transport().document(make_call(server, headers={"Accept-Encoding": "gzip"}))
    assert found.body == PACKED
    assert decoded(found, 10_000, "it") == (TEXT, PACKED)


def test_a_body_that_announces_too_much_is_not_read(make_transport: MakeTransport) -> None:
    """The rest of it may never arrive."""
    with Server(always(answer(b"x", length=1001))) as server, pytest.raises(AnswerTooLong, match="more than"):
        make_transport().document(make_call(server), limit=1000)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304)])
def test_a_size_without_a_body_is_no_body(make_transport: MakeTransport, method: str, status: int) -> None:
    """The answer says how large the document is, which it doesn't send."""
    with Server(always(answer(b"", f"{status} as it is", length=1001))) as server:
        found = make_transport().document(make_call(server, method=method), limit=1000, grow=pytest.fail)
    assert (found.status, found.body) == (status, b"")


MIB = 1024 * 1024


def read(size: PieceSize, clock: Clock, seconds: float, count: int) -> int:
    for _ in range(count):
        with size.reading():
            clock.now += seconds
    return size.size


def test_pieces_grow_for_a_fast_reader() -> None:
    """Not at once, because buffers on the way to the reader take the first megabytes quickly."""
    clock = Clock()
    size = PieceSize(MIB, clock)
    assert size.size == MIB // 4
    assert read(size, clock, 0.01, 12) == MIB // 4
    assert read(size, clock, 0.01, 100) == MIB


def test_pieces_stay_small_for_a_slow_reader() -> None:
    """They become small again when a reader becomes slow."""
    clock = Clock()
    size = PieceSize(MIB, clock)
    assert read(size, clock, 1, 100) == MIB // 4
    assert read(size, clock, 0.01, 100) == MIB
    assert read(size, clock, 1, 1) == MIB // 4


def test_pieces_are_never_larger_than_asked_for() -> None:
    """Also if that is less than the size of a first piece."""
    size = PieceSize(1000, Clock())
    assert size.size == 1000
    assert read(size, Clock(), 0, 100) == 1000
