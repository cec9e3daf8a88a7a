"""Visitors: clients that do everything in turn, each with its own project, and check every answer."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.builders import make_metadata, make_wheel

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
KEPT = 4  # versions of each project; older ones are deleted
SIZES = (1_000,) * 20 + (100_000,) * 4 + (2_000_000,)  # bytes of a wheel's ballast; the largest pass through
PATIENCE = 60  # seconds for one answer


@dataclass(slots=True)
class Outcome:
    """The results of all visits."""

    done: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    again: int = 0

    @property
    def count(self) -> int:
        return self.done.total()


class Visitor:
    """One client, whose reads share a kept connection."""

    def __init__(self, index: str, number: int, session: requests.Session) -> None:
        self._index, self._session = index, session
        self._project = f"visited-{number}"
        self._chance = random.Random(number)
        self._files: dict[str, bytes] = {}
        self._last = 0
        self.again = 0  # how often a kept connection had gone

    def step(self) -> str:
        """Do something, and return what. Raises AssertionError for a wrong answer."""
        if len(self._files) > KEPT:
            return self._delete()
        if not self._files:
            return self._upload()
        actions: tuple[Callable[[], str], ...] = (self._page,) * 6
        actions += (self._unchanged, self._download, self._head, self._range, self._metadata) * 2
        actions += (self._upload, self._yank, self._absent, self._leave_download, self._leave_upload)
        return self._chance.choice(actions)()

    def _ask(self, method: str, path: str, status: int, **arguments: Any) -> requests.Response:
        answer = self._answer(method, f"{self._index}{path}", arguments | {"timeout": PATIENCE})
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:200]}"
        return answer

    def _answer(self, method: str, url: str, arguments: dict[str, Any]) -> requests.Response:
        """Changes use new connections, like uploaders. A kept connection may be closed by a replaced worker
        just when the next request is sent: then it is sent again.
        """
        if method not in {"GET", "HEAD"}:
            return requests.request(method, url, **arguments)
        try:
            return self._session.request(method, url, **arguments)
        except requests.ConnectionError:
            self.again += 1
            return self._session.request(method, url, **arguments)

    def _path(self, filename: str = "") -> str:
        return f"{self._project}/{filename}"

    def _some(self) -> str:
        return self._chance.choice(sorted(self._files))

    def _page(self) -> str:
        names = {
            file["filename"] for file in self._ask("GET", self._path(), 200, headers=JSON).json()["files"]
        }
        assert names == set(self._files), f"the page shows {names}, not {set(self._files)}"
        return "page"

    def _unchanged(self) -> str:
        tag = self._ask("GET", self._path(), 200, headers=JSON).headers["ETag"]
        self._ask("GET", self._path(), 304, headers=JSON | {"If-None-Match": tag})
        return "304"

    def _download(self) -> str:
        filename = self._some()
        content = self._ask("GET", self._path(filename), 200).content
        assert content == self._files[filename], f"other bytes of {filename}"
        return "download"

    def _head(self) -> str:
        filename = self._some()
        length = self._ask("HEAD", self._path(filename), 200).headers["Content-Length"]
        assert int(length) == len(self._files[filename])
        return "HEAD"

    def _range(self) -> str:
        filename = self._some()
        answer = self._ask("GET", self._path(filename), 206, headers={"Range": "bytes=-100"})
        assert answer.content == self._files[filename][-100:], f"another end of {filename}"
        return "Range"

    def _metadata(self) -> str:
        filename = self._some()
        text = self._ask("GET", self._path(f"{filename}.metadata"), 200).content
        assert text == make_metadata(self._project, filename.split("-")[1]), f"other metadata of {filename}"
        return "metadata"

    def _upload(self) -> str:
        filename, content = self._make()
        self._ask(
            "POST", "", 200, data=self._fields(filename, content), files={"content": (filename, content)}
        )
        self._files[filename] = content
        return "upload"

    def _yank(self) -> str:
        self._ask("PATCH", self._path(self._some()), 200, json={"yanked": "broken"})
        return "yank"

    def _delete(self) -> str:
        filename = min(self._files, key=lambda name: int(name.split("-")[1].split(".")[0]))
        self._ask("DELETE", self._path(filename), 200)
        del self._files[filename]
        self._ask("GET", self._path(filename), 404)
        return "delete"

    def _absent(self) -> str:
        self._ask("GET", f"nobody-{self._chance.randrange(10**9)}/", 404)
        return "404"

    def _leave_download(self) -> str:
        """Disconnect after the first bytes."""
        url = f"{self._index}{self._path(self._some())}"
        with requests.get(url, stream=True, timeout=PATIENCE) as answer:
            assert answer.status_code == 200, f"{url}: {answer.status_code}"
            next(answer.iter_content(100))
        return "download left"

    def _leave_upload(self) -> str:
        """Disconnect in the middle of the form."""
        filename, content = self._make()
        fields = self._fields(filename, content)
        form = requests.Request("POST", self._index, data=fields, files={"content": (filename, content)})
        prepared = form.prepare()
        assert isinstance(prepared.body, bytes)
        parts = urlsplit(self._index)
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in prepared.headers.items()]
        with socket.create_connection((parts.hostname or "", parts.port or 0), PATIENCE) as connection:
            connection.sendall(
                "\r\n".join([*lines, "", ""]).encode() + prepared.body[: len(prepared.body) // 2]
            )
        return "upload left"

    def _make(self) -> tuple[str, bytes]:
        self._last += 1
        ballast = {"ballast.bin": self._chance.randbytes(self._chance.choice(SIZES))}
        filename, content = make_wheel(self._project, f"{self._last}.0", files=ballast)
        return filename, content

    def _fields(self, filename: str, content: bytes) -> dict[str, str]:
        return {
            ":action": "file_upload",
            "protocol_version": "1",
            "name": self._project,
            "version": filename.split("-")[1],
            "sha256_digest": hashlib.sha256(content).hexdigest(),
        }


@contextmanager
def visiting(index: str, count: int) -> Iterator[Outcome]:
    """A number of visitors at once, for the time of the block."""
    outcome, over, lock = Outcome(), threading.Event(), threading.Lock()

    def visit(number: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            visitor = Visitor(index, number, session)
            while not over.is_set():
                failure = ""
                what = "failed"
                try:
                    what = visitor.step()
                except (AssertionError, requests.RequestException, OSError) as exc:
                    failure = f"{type(exc).__name__}: {exc}"[:500]
                with lock:
                    outcome.done[what] += 1
                    if failure:
                        outcome.failures.append(failure)
            with lock:
                outcome.again += visitor.again

    with ExitStack() as stack:
        threads = [threading.Thread(target=visit, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join, 2 * PATIENCE)
        stack.callback(over.set)
        yield outcome
