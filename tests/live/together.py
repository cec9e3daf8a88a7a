"""All attacks of clients, registries and upstream at once, and honest work in between."""

from __future__ import annotations

import hashlib
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests

from pyoci.embedded import create_registry_app
from tests.builders import make_wheel
from tests.hostile_registries import RolesRegistry
from tests.live.attacking import Attack, Kind, reader_kinds, registry_kinds, slow_kinds, upstream_kinds
from tests.live.environments import CHECKOUT
from tests.live.servers import Port, Servers
from tests.serving import served

MEMORY = 300 * 1024 * 1024  # bytes of a worker, as docs/reliability.rst promises
_HOSTILE = tuple(f"hostile{number}" for number in range(6))  # names of one registry
_BALLAST = 8_000_000  # bytes; more than the buffers of a connection hold
_SHOWN = 900  # versions; a page shows the newest thousand


@contextmanager
def settings(servers: Servers, registry: str, folder: Path) -> Iterator[dict[str, str]]:
    """The settings of a PyOCI with an honest registry (`lab`), one whose readers may not write (`roles`), one
    that is hostile in every way under six names, and a hostile upstream.
    """
    roles = RolesRegistry(create_registry_app(folder, htpasswd=None, local_only=False))
    roles.go_on.set()
    with closing(Port()) as port, served(roles) as roles_url:
        command = [sys.executable, "-m", "tests.hostile_registries", str(port.number)]
        name = f"hostile-{uuid.uuid4().hex[:6]}"
        hostile = servers.start(name, command, port.url, "/v2/", {"PATH": ""}, CHECKOUT)
        registries = {"lab": registry, "roles": roles_url}
        for number, alias in enumerate(_HOSTILE):
            registries[alias] = f"http://127.0.9.{2 + number}:{port.number}"  # a network of its own
        yield {
            "PYOCI_REGISTRIES": ",".join(f"{alias}={url}" for alias, url in registries.items()),
            "PYOCI_UPSTREAM_INDEX": f"http://127.0.10.1:{port.number}/simple/",
            "PYOCI_WAITING_BODIES": "20000000",
            "PYOCI_LOG": "warning",
            "WEB_CONCURRENCY": "1",
        }
        hostile.end()
        hostile.wait()
        servers.running.remove(hostile)


@dataclass
class HonestWork:
    """What others do at the index at a URL, which has one large wheel. `add` is told whether each step has
    succeeded, and what it was.
    """

    index: str
    add: Callable[[bool, str], None]
    published: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds

    def __post_init__(self) -> None:
        self.filename, self._content = make_wheel(files={"a": random.Random(1).randbytes(_BALLAST)})
        assert self._publish("hello-world", self.filename, self._content) == 200

    def do(self, number: int) -> None:
        """A page, an upload and a download."""
        begun = time.monotonic()
        page = self._get("hello-world/")
        self._add(page.ok, begun, f"the page was answered with {page.status_code}")
        name, small = make_wheel("other", f"1.0+{number}", files={"a": b"x" * 50_000})
        begun = time.monotonic()
        status = self._publish("other", name, small)
        self._add(status == 200, begun, f"{name} was answered with {status}")
        if status == 200:
            self.published.append(name)
        begun = time.monotonic()
        got = self._get(f"hello-world/{self.filename}")
        is_same = hashlib.sha256(got.content).digest() == hashlib.sha256(self._content).digest()
        self._add(is_same, begun, f"the file was answered with {got.status_code}")

    def check(self) -> None:
        """Nothing is lost."""
        page = self._get("other/").text
        for name in self.published[-_SHOWN:]:
            self.add(name in page, f"{name} was lost")

    def _add(self, succeeded: bool, begun: float, what: str) -> None:
        seconds = time.monotonic() - begun
        self.slowest = max(self.slowest, seconds)
        self.add(succeeded, f"{what} after {seconds:.1f} s")

    def _get(self, path: str) -> requests.Response:
        return requests.get(f"{self.index}{path}", auth=("me", "me"), timeout=60)

    def _publish(self, name: str, filename: str, content: bytes) -> int:
        form = {":action": "file_upload", "protocol_version": "1", "name": name}
        form["version"] = filename.split("-")[1]
        files = {"content": (filename, content)}
        return requests.post(self.index, form, files=files, auth=("me", "me"), timeout=60).status_code


def make_works(url: str, add: Callable[[bool, str], None]) -> list[HonestWork]:
    """Work at the honest registry, and at the one with readers."""
    namespace = f"acme/n{uuid.uuid4().hex[:12]}/"
    return [HonestWork(f"{url}/{registry}/{namespace}", add) for registry in ("lab", "roles")]


def make_attacks(url: str, works: list[HonestWork], slow: int, asking: int) -> dict[str, Attack]:
    """So many slow clients of each kind, silent ones among them; and so many of each kind that have PyOCI ask
    hostile registries. Whoever is ended or answered comes back at once, and some of the latter leave before.
    """
    path, roles_path = (urlsplit(work.index).path for work in works)
    slow_ones = {
        **slow_kinds(path, works[0].filename),
        "silent": Kind(b""),
        "heads": Kind(b"GET /health HTTP/1.1\r\nX: ", b"y"),
    }
    asking_ones = {**registry_kinds(_HOSTILE), **upstream_kinds(path), **reader_kinds(roles_path)}
    return {
        **{name: Attack(url, kind, slow) for name, kind in slow_ones.items()},
        **{name: Attack(url, kind, asking) for name, kind in asking_ones.items() if asking},
    }
