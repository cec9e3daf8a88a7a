"""The Accept headers of the clients that run here are those of the tables in tests and documents, and none of
them is a browser's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pyoci.web.negotiation import is_browser
from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import hatch
from tests.live.pyprojects import pyproject
from tests.serving import served
from tests.web.test_people import CLIENTS

_KNOWN = {parameter.values[0] for parameter in CLIENTS}


@dataclass
class Recorder:
    """Answers every request with 404, and records its Accept header."""

    headers: list[str | None] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].startswith("/ghcr.io/"):
            self.headers.append(environ.get("HTTP_ACCEPT"))
        start_response("404 Not Found", [("Content-Length", "0")])
        return []


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def url(recorder: Recorder) -> Iterator[str]:
    with served(recorder) as base:
        yield f"{base}/ghcr.io/acme/"


def _pip(clients: Clients, url: str, folder: Path) -> None:
    clients.attempt("pip", "download", "--index-url", url, "--dest", folder, "hello-world")


def _uv(clients: Clients, url: str, folder: Path) -> None:
    (folder / "requirements.in").write_text("hello-world\n")
    clients.attempt("uv", "pip", "compile", "--index-url", url, folder / "requirements.in")


def _locking(client: str) -> Callable[[Clients, str, Path], None]:
    def lock(clients: Clients, url: str, folder: Path) -> None:
        (folder / "pyproject.toml").write_text(pyproject(client, url))
        clients.attempt(client, "lock", cwd=folder)

    return lock


def _hatch(clients: Clients, url: str, folder: Path) -> None:
    hatch(clients, PackageIndex(url=url, registry=""), [packages.wheel(folder)])


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(_pip, id="pip", marks=pytest.mark.live("pip")),
        pytest.param(_uv, id="uv", marks=pytest.mark.live("uv")),
        pytest.param(_locking("poetry"), id="poetry", marks=pytest.mark.live("poetry")),
        pytest.param(_locking("pdm"), id="pdm", marks=pytest.mark.live("pdm")),
        pytest.param(_hatch, id="hatch", marks=pytest.mark.live("hatch")),
    ],
)
def test_clients_are_no_browsers(
    ask: Callable[[Clients, str, Path], None],
    clients: Clients,
    url: str,
    recorder: Recorder,
    tmp_path: Path,
) -> None:
    """Each sends a header that the tables have."""
    ask(clients, url, tmp_path)
    assert recorder.headers
    assert set(recorder.headers) <= _KNOWN
    assert not [header for header in recorder.headers if is_browser(header or "")]
