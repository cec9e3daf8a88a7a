"""A PyOCI server on a real socket, and indexes that are opened straight in its registry or through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyoci.app import create_app
from pyoci.config import Settings
from pyoci.library import Anonymous, Index, open_index
from tests.serving import served

WriteFile = Callable[[tuple[str, bytes]], Path]
KINDS = ["registry", "server", "in this process"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a PyOCI server with an embedded registry."""
    settings = Settings.from_environ({"PYOCI_EMBEDDED": str(tmp_path / "registry"), "PYOCI_LOG": "off"})
    with served(create_app(settings, sleep=lambda _: None)) as url:
        yield url


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Iterator[Index]:
    """The same namespace, opened in each way."""
    address = {"registry": f"{server}/acme", "server": f"{server}/local/acme"}.get(
        request.param, "local/acme"
    )
    with open_index(address, Anonymous(), environ={"PYOCI_EMBEDDED": str(tmp_path / "registry")}) as index:
        yield index


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Writes a file of a name and a content, as tests.builders makes them."""

    def write(file: tuple[str, bytes]) -> Path:
        directory = tmp_path / "dist"
        directory.mkdir(exist_ok=True)
        path = directory / file[0]
        path.write_bytes(file[1])
        return path

    return write
