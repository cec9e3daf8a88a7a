"""Many slow clients at once that read, send or stay silent: pages must still be answered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.load import Load, ask
from benchmarks.results import Missed, Row, times
from benchmarks.servers import Site, Stage
from benchmarks.transfers import upload
from benchmarks.wheels import MB, File, large_wheel
from tests.live.attacking import Attack, Kind, slow_kinds

_CROWD = 300
_ATTACKS = (
    "bodies",
    "chunked bodies",
    "bodies of a probe",
    "yanks",
    "readers",
    "readers that stop",
    "silent",
)
_READERS = 64
_SIZE = 100  # MB
_SPEED = 64 * 1024  # bytes a second that each of them reads
_PAUSE = 0.25  # seconds
_CLIENTS = 8  # of pages: on so many connections that every worker has some
_SECONDS = 3.0  # of each run
_PATIENCE = 10.0  # seconds that a page may take; more is no answer
_PROJECT = "slow"


def slow_rows(stage: Stage, rounds: int) -> list[Row]:
    """The 99th percentile of the pages of some clients, alternately without and with slow clients."""
    site = stage.pyoci(stage.docker_registry())
    file = large_wheel(stage.folder, _PROJECT, "1.0", _SIZE * MB)
    upload(site.address, site.upload, file)
    _pages(site)
    idle, busy, served = [], [], []
    for _ in range(rounds):
        idle.append(_slowest(site))
        with _readers(site, file) as under_way:
            busy.append(_slowest(site))
        served.append(len(under_way))
    return [
        *(_attack_row(site, file, kind, rounds) for kind in _ATTACKS),
        Row(
            name=f"warm page during {_READERS} slow downloads, 99th percentile",
            unit="ms",
            runs=tuple(busy),
            beside="without them",
            others=tuple(idle),
            bar=times(3),
        ),
        Row(name=f"slow downloads under way, of {_READERS}", runs=tuple(served)),
    ]


def _attack_row(site: Site, file: File, kind: str, rounds: int) -> Row:
    """The same during an attack of hundreds of slow clients, which reconnect when they are ended."""
    index = site.upload if site.upload.endswith("/") else f"{site.upload}/"
    slow = Kind(b"") if kind == "silent" else slow_kinds(index, file.name, _PROJECT)[kind]
    idle, busy = [], []
    for _ in range(rounds):
        idle.append(_slowest(site))
        with Attack(f"http://{site.address[0]}:{site.address[1]}", slow, _CROWD):
            busy.append(_slowest(site))
    return Row(
        name=f"warm page during {_CROWD} slow clients ({kind}), 99th percentile",
        unit="ms",
        runs=tuple(busy),
        beside="without them",
        others=tuple(idle),
        bar=times(3),
    )


def _slowest(site: Site) -> float:
    """In ms; the timeout if there was no answer."""
    try:
        return _pages(site).slowest * 1000
    except Missed:
        return _PATIENCE * 1000


def _pages(site: Site) -> Load:
    return ask(site.address, site.page_of(_PROJECT), clients=_CLIENTS, seconds=_SECONDS, patience=_PATIENCE)


@contextmanager
def _readers(site: Site, file: File) -> Iterator[set[int]]:
    """Slow readers that download during the block. They begin before it and don't end by themselves. Yields
    those that have received something.
    """
    request = f"GET {site.file_of(_PROJECT, file.name)} HTTP/1.1\r\nHost: slow\r\nConnection: close\r\n\r\n"
    readers = []
    for _ in range(_READERS):
        reader = socket.socket()
        # A small window: what the kernel takes in for the reader, the server need not wait for.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SPEED)
        reader.connect(site.address)
        reader.sendall(request.encode())
        reader.setblocking(False)
        readers.append(reader)
    over = threading.Event()
    under_way: set[int] = set()
    reading = threading.Thread(target=_read, args=(readers, over, under_way), daemon=True)
    reading.start()
    try:
        over.wait(1.0)  # they are under way, or wait for it
        yield under_way
    finally:
        over.set()
        reading.join()
        for reader in readers:
            reader.close()


def _read(readers: list[socket.socket], over: threading.Event, under_way: set[int]) -> None:
    """Read a little from each, again and again."""
    while not over.wait(_PAUSE):
        for number, reader in enumerate(readers):
            try:
                if reader.recv(int(_SPEED * _PAUSE)):
                    under_way.add(number)
            except OSError:
                continue
