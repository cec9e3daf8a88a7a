"""A page of ten thousand files, in one process and without a socket: the time of rendering alone. It is run
as a program, so that the memory is the application's, and has the heap of a server. Prints JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median

from werkzeug.test import Client

from benchmarks.memory import now
from benchmarks.seeding import image_indexes, push_file, put_document
from pyoci import heap
from pyoci.app import create_app
from pyoci.config import Settings

_VERSIONS, _FILES = 1000, 10
_AFTER = 20  # pages, while which the memory has to stay as it is
# Without a password the embedded registry serves only its own machine.
_HERE = {"REMOTE_ADDR": "127.0.0.1"}
_PAGE = "/local/bench/many/"
JSON, HTML = "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html"


def measure(client: Client, rounds: int) -> dict[str, list[float]]:
    """The seconds for the page in both representations and for json.dumps, and the growth of memory
    afterwards.
    """
    structure = json.loads(_get(client, JSON))
    _get(client, HTML)
    found: dict[str, list[float]] = {JSON: [], HTML: [], "dumps": []}
    changes = itertools.count()
    for _ in range(rounds):
        found["dumps"].append(median(_seconds(lambda: json.dumps(structure)) for _ in range(5)))
        for shape in (JSON, HTML):
            _change(client, next(changes))
            found[shape].append(_seconds(lambda shape=shape: _get(client, shape)))  # type: ignore[misc]
    before = now(os.getpid()).total
    for turn in range(_AFTER):
        _change(client, next(changes))
        _get(client, (JSON, HTML)[turn % 2])
    found["grown"] = [now(os.getpid()).total - before]
    return found


def _fill(client: Client) -> None:
    """Write the project directly into the embedded registry."""

    def send(method: str, path: str, headers: dict[str, str], body: bytes) -> str:
        url = path if path.startswith("/") else f"/v2/bench/many/{path}"
        answer = client.open(url, method=method, headers=headers, data=body, environ_overrides=_HERE)
        assert answer.status_code in {201, 202}, f"{method} {url}: {answer.status} {answer.text}"
        location: str = answer.headers.get("Location", "")
        return location.removeprefix("http://localhost")

    manifest = push_file(send)
    for tag, document in image_indexes("many", _VERSIONS, _FILES, manifest):
        put_document(send, tag, document)


def _change(client: Client, number: int) -> None:
    """Change one version, so that its document is read again and the page is built again. Each `number`
    changes another version, because the same change a second time would change nothing.
    """
    answer = client.patch(f"{_PAGE}1.{number}", json={"yanked": f"change {number}"}, environ_overrides=_HERE)
    assert answer.status_code == 200, answer.text


def _get(client: Client, shape: str) -> bytes:
    answer = client.get(_PAGE, headers={"Accept": shape}, environ_overrides=_HERE)
    assert answer.status_code == 200, answer.text
    data: bytes = answer.data
    return data


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _main() -> None:
    heap.use_one_heap()
    heap.collect_rarely()
    with tempfile.TemporaryDirectory() as folder:
        environ = {"PYOCI_EMBEDDED": f"{folder}/packages", "PYOCI_CACHE_URL": f"file://{folder}/cache"}
        client = Client(create_app(Settings.from_environ({**environ, "PYOCI_LOG": "error"})))
        _fill(client)
        print(json.dumps(measure(client, int(sys.argv[1]))))


if __name__ == "__main__":
    _main()
