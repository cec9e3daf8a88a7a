"""Ten times more clients than threads: requests that are served are served in time; the others wait, or get a
503. Soon afterwards everything is as before.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.live.census import greedy, leftovers, workers
from tests.live.servers import Server, Servers, running_pyoci
from tests.live.sockets import connect, is_well, make_head
from tests.torture.conftest import Tally
from tests.torture.lasting import SECONDS

LASTING = min(SECONDS, 60.0)  # seconds of each crowd
pytestmark = pytest.mark.timeout(LASTING + 300)
THREADS, WORKERS, CROWD = 8, 2, 10
CLIENTS = CROWD * THREADS * WORKERS
WAIT = 10.0  # seconds that a request waits for a thread
KEPT = 16  # connections to the registry that a worker keeps
SOON = 5.0  # seconds until all is as before
BALLAST = 8_000_000  # bytes of what is downloaded slowly: more than the buffers of a connection hold
SLOWNESS = 0.02  # seconds between two pieces of a slow download, or upload


@dataclass(slots=True)
class Answers:
    """The statuses that clients got, and after how many seconds."""

    statuses: Counter[str] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, status: int, seconds: float, right: bool, why: object) -> None:
        with self.lock:
            key = f"{what} {status}"
            self.statuses[key] += 1
            self.longest[key] = max(self.longest.get(key, 0.0), seconds)
            if not right:
                self.wrong.append(f"{key} after {seconds:.1f} s: {why}"[:300])


@dataclass(frozen=True, slots=True)
class Place:
    """A package index with one large wheel, and what a client does there."""

    index: str
    filename: str
    content: bytes = field(repr=False)

    def page(self) -> requests.Response:
        return requests.get(f"{self.index}hello-world/", timeout=60)

    def download(self) -> requests.Response:
        """As slowly as the other end allows, some 400 kB/s."""
        answer = requests.get(f"{self.index}hello-world/{self.filename}", stream=True, timeout=60)
        size = 0
        with answer:
            for piece in answer.iter_content(8192 * 8):
                size += len(piece)
                time.sleep(SLOWNESS)
        if answer.ok:
            assert size == len(self.content), f"{size} bytes of {len(self.content)}"
        return answer

    def upload(self) -> requests.Response:
        """A wheel that nobody has published yet."""
        filename, content = make_wheel("other", f"1.0+{uuid.uuid4().hex[:12]}", files={"a": b"x" * 50_000})
        return send(self.index, "other", filename, content)


def send(index: str, name: str, filename: str, content: bytes) -> requests.Response:
    form = {":action": "file_upload", "protocol_version": "1", "name": name}
    form["version"] = filename.split("-")[1]
    return requests.post(index, data=form, files={"content": (filename, content)}, timeout=60)


@pytest.fixture
def server(servers: Servers, registry: str, tmp_path: Path) -> Iterator[Server]:
    """PyOCI with few threads."""
    with running_pyoci(
        servers,
        "crowded",
        PYOCI_REGISTRIES=f"lab={registry}",
        PYOCI_THREADS=str(THREADS),
        PYOCI_LOG="warning",
        WEB_CONCURRENCY=str(WORKERS),
        TMPDIR=str(tmp_path),
    ) as server:
        yield server


@pytest.fixture
def place(server: Server) -> Place:
    index = f"{server.url}/lab/acme/n{uuid.uuid4().hex[:12]}/"
    filename, content = make_wheel(files={"a": random.Random(1).randbytes(BALLAST)})
    assert send(index, "hello-world", filename, content).status_code == 200
    return Place(index, filename, content)


CROWDS: dict[str, tuple[Callable[[Place], requests.Response], ...]] = {
    "pages": (Place.page,),
    "slow downloads": (Place.download,),
    "uploads": (Place.upload,),
    "all of them": (Place.page, Place.download, Place.upload),
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_overload(
    server: Server, place: Place, tmp_path: Path, crowd: str, tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every client gets an answer, and /health answers all the time."""
    first, answers, over = workers(server, tmp_path)[0], Answers(), threading.Event()
    chores = CROWDS[crowd]
    with ExitStack() as stack:
        for number in range(CLIENTS):
            thread = threading.Thread(target=press, args=(chores[number % len(chores)], place, answers, over))
            thread.start()
            stack.callback(thread.join, 120)
        stack.callback(over.set)
        end = time.monotonic() + LASTING
        while time.monotonic() < end:
            tally.add(is_well(server), "not well")
            over.wait(1.0)
    begun = time.monotonic()
    statuses = [place.page().status_code for _ in range(WORKERS * THREADS)]
    recovered = time.monotonic() - begun
    with capsys.disabled():
        print(f"\n{crowd}: {dict(answers.statuses)}; recovered in {recovered:.2f} s")
        print({key: round(seconds, 1) for key, seconds in answers.longest.items()})
    tally.tried += answers.statuses.total()
    tally.survived += answers.statuses.total() - len(answers.wrong)
    tally.failures += answers.wrong[:20]
    assert set(statuses) == {200}
    assert recovered < SOON
    assert greedy(server, tmp_path, first, threads=THREADS, sockets=KEPT) == []
    assert leftovers(tmp_path) == []


def test_stalled(server: Server, place: Place, tmp_path: Path, tally: Tally) -> None:
    """Uploads that stop in the middle occupy no thread: other clients are served."""
    first = workers(server, tmp_path)[0]
    head = make_head(
        "POST /lab/acme/ HTTP/1.1", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 1000"
    )
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(connect(server)).sendall(head + b"--b")
        answers = Answers()
        threads = [threading.Thread(target=visit, args=(Place.page, place, answers)) for _ in range(20)]
        for thread in threads:
            thread.start()
        assert is_well(server)
        for thread in threads:
            thread.join(60)
        assert set(answers.statuses) == {"page 200"}
    begun = time.monotonic()
    status = place.page().status_code
    tally.tried += answers.statuses.total()
    tally.survived += answers.statuses.total() - len(answers.wrong)
    tally.failures += answers.wrong
    assert (status, time.monotonic() - begun < SOON) == (200, True)
    assert greedy(server, tmp_path, first, threads=THREADS, sockets=KEPT) == []


def press(
    chore: Callable[[Place], requests.Response], place: Place, answers: Answers, over: threading.Event
) -> None:
    """Request again and again, without waiting after a 503."""
    while not over.is_set():
        visit(chore, place, answers)


def visit(chore: Callable[[Place], requests.Response], place: Place, answers: Answers) -> None:
    what, begun = chore.__name__, time.monotonic()
    try:
        answer = chore(place)
    except (requests.RequestException, AssertionError) as exc:
        answers.add(what, 0, time.monotonic() - begun, False, repr(exc))
        return
    seconds = answer.elapsed.total_seconds()
    told = answer.status_code == 503 and answer.headers.get("Retry-After", "").isdigit()
    right = (answer.ok or told) and seconds < 3 * WAIT
    answers.add(what, answer.status_code, seconds, right, answer.reason)
