"""PYOCI_UPSTREAM_FILES=proxy before an upstream that fails in every way, while the folder fills and is
deleted: what a client has got completely is right, and afterwards everything works.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Request, Response

from tests.live.servers import Server, Servers, running_pyoci
from tests.torture.conftest import Tally
from tests.torture.lasting import SECONDS
from tests.upstreams import PackageIndex, package_index

LASTING = min(SECONDS, 120.0)
pytestmark = pytest.mark.timeout(LASTING + 300)
FILES, CLIENTS = 12, 24
SIZES = (1, 4096, 65_537, 1_000_000, 3_000_000)  # bytes
FOLDER = 8_000_000  # bytes; all files together have more


class Failing:
    """Answers of an upstream that fails at random. `is_well` ends that."""

    def __init__(self, elsewhere: PackageIndex, seed: int) -> None:
        self.is_well = False
        self._elsewhere = elsewhere
        self._random = random.Random(seed)
        self._guard = threading.Lock()

    def answer(self, request: Request) -> Response | None:
        """A file that breaks off at any offset, other bytes, a slow or a busy server, or what is right."""
        if self.is_well or "/files/" not in request.path:
            return None
        content = self._elsewhere.content(request.path.rpartition("/")[2])
        with self._guard:
            fault, offset = self._random.randrange(8), self._random.randrange(len(content) + 1)
        length = {"Content-Length": str(len(content))}
        match fault:
            case 0:
                return Response(iter([content[:offset]]), headers={**length, "Connection": "close"})
            case 1:
                return Response(content[:offset])
            case 2:
                return Response(content[:offset] + b"!" + content[offset + 1 :])
            case 3:
                return Response("busy", 429, {"Retry-After": "1"})
            case 4:
                return Response("down", 503)
            case 5:
                return Response(_slowly(content), headers=length)
        return None


def _slowly(content: bytes) -> Iterator[bytes]:
    step = max(len(content) // 10, 1)
    for start in range(0, len(content), step):
        time.sleep(0.05)
        yield content[start : start + step]


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    with package_index() as found:
        for number in range(FILES):
            size = SIZES[number % len(SIZES)]
            found.add(f"flask-{number}.0.tar.gz", random.Random(number).randbytes(size))
        yield found


@pytest.fixture
def server(servers: Servers, elsewhere: PackageIndex, tmp_path: Path) -> Iterator[Server]:
    with running_pyoci(
        servers,
        "failing-upstream",
        PYOCI_EMBEDDED=str(tmp_path / "registry"),
        PYOCI_UPSTREAM_INDEX=elsewhere.simple,
        PYOCI_UPSTREAM_FILES="proxy",
        PYOCI_UPSTREAM_FILES_DIR=str(tmp_path / "files"),
        PYOCI_UPSTREAM_FILES_BYTES=str(FOLDER),
        PYOCI_THREADS="16",
        PYOCI_LOG="error",
        WEB_CONCURRENCY="2",
    ) as server:
        yield server


@pytest.mark.parametrize("seed", range(3))
def test_files_of_a_failing_upstream(
    server: Server, elsewhere: PackageIndex, tmp_path: Path, seed: int, tally: Tally
) -> None:
    failing = Failing(elsewhere, seed)
    urls = {
        f"{server.url}/local/acme/flask/+{entry['hashes']['sha256'][:16]}/{entry['filename']}": entry[
            "filename"
        ]
        for entry in elsewhere.projects["flask"]
    }
    assert requests.get(f"{server.url}/local/acme/flask/", timeout=60).status_code == 200
    elsewhere.answer = failing.answer
    end = time.monotonic() + LASTING / 3

    def use(number: int) -> list[tuple[bool, str]]:
        chosen, outcomes = random.Random(seed * 1000 + number), []
        while time.monotonic() < end:
            url = chosen.choice([*urls])
            outcomes.append(_is_right(url, elsewhere.content(urls[url]), chosen))
        return outcomes

    folder, chosen = tmp_path / "files", random.Random(seed)
    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(use, number) for number in range(CLIENTS)]
        while time.monotonic() < end:
            time.sleep(chosen.uniform(0.5, 3.0))
            shutil.rmtree(folder, ignore_errors=True)
        for client in clients:
            for outcome in client.result():
                tally.add(*outcome)

    failing.is_well = True
    for url, filename in urls.items():
        tally.add(_arrives(url, elsewhere.content(filename)), f"{filename} doesn't arrive afterwards")
    names = [path.name for path in folder.iterdir()]
    tally.add(not [name for name in names if name.startswith("tmp-")], names)
    tally.add(sum(path.stat().st_size for path in folder.iterdir()) <= FOLDER, "the folder is too large")
    for path in folder.iterdir():
        tally.add(hashlib.sha256(path.read_bytes()).hexdigest() == path.name, f"{path.name} has other bytes")


def _is_right(url: str, content: bytes, chosen: random.Random) -> tuple[bool, str]:
    """Whether an answer is an error, breaks off, or has the right bytes."""
    start = chosen.randrange(len(content))
    headers = {"Range": f"bytes={start}-"} if chosen.random() < 0.2 else {}
    try:
        answer = requests.get(url, headers=headers, timeout=60)
    except requests.RequestException as exc:
        late = isinstance(exc, requests.Timeout)
        return not late, "no answer within 60 s" if late else ""
    if answer.status_code == 206:
        return answer.content == content[start:], f"{url} from {start}"
    if answer.status_code == 200:
        return answer.content == content, url
    return answer.status_code in {429, 502, 503, 504}, f"{url}: {answer.status_code} {answer.text}"


def _arrives(url: str, content: bytes) -> bool:
    """Whether a file arrives once upstream is well, at the latest when it may be asked again."""
    for _ in range(40):
        answer = requests.get(url, timeout=60)
        if answer.status_code == 200:
            return answer.content == content
        time.sleep(1.0)
    return False
