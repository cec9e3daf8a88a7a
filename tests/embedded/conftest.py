"""The registry over a new directory, and a client; a clock that can be advanced, and a disk that can fail."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flask import Flask

from pyoci.embedded import create_registry_app
from pyoci.embedded.storage import Disk
from tests.embedded.builders import Wire


@dataclass
class Clock:
    """The real time, plus what a test adds."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def pass_hours(self, hours: float) -> None:
        self.ahead += hours * 3600


@dataclass
class Steps:
    """The operations on the disk. `trouble` has the error that an operation raises."""

    trouble: dict[str, OSError] = field(default_factory=dict)
    taken: list[tuple[str, Path]] = field(default_factory=list)

    def __call__(self, operation: str, path: Path) -> None:
        self.taken.append((operation, path))
        if operation in self.trouble:
            raise self.trouble[operation]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def disk(clock: Clock, steps: Steps) -> Disk:
    return Disk(step=steps, clock=clock)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def app(directory: Path, disk: Disk) -> Flask:
    return create_registry_app(directory, htpasswd=None, local_only=False, blob_limit=10_000_000, disk=disk)


@pytest.fixture
def wire(app: Flask) -> Wire:
    return Wire(app.test_client())
