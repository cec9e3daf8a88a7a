"""Readiness: directories are written to, rarely, and callers wait only briefly if a disk hangs."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pyoci.app import create_app
from pyoci.config import Settings, WrongSettings
from pyoci.events import Events
from pyoci.readiness import Directory, Readiness
from tests.flows.conftest import Lines, MakeClient, lines, make_client
from tests.flows.test_no_room import files_of_at_most

__all__ = ["lines", "make_client"]


class Disk:
    """Counts the trials. `not_ready_reason` is the result of each."""

    def __init__(self) -> None:
        self.trials = 0
        self.error: OSError | None = None

    def try_out(self, place: Directory) -> None:
        self.trials += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk() -> Disk:
    return Disk()


def make_readiness(disk: Disk | None, events: Events | None = None, **arguments: Any) -> Readiness:
    """For one directory, with a clock that advances ten seconds at each reading."""
    seconds = count(100.0, 10)
    values: dict[str, Any] = {"clock": lambda: next(seconds), "limit": 60.0}
    values |= {} if disk is None else {"try_out": disk.try_out}
    return Readiness([Directory("PYOCI_EMBEDDED", Path("/nowhere"))], events, **(values | arguments))


def test_reason_names_the_setting(disk: Disk) -> None:
    """And no path, because anybody may ask."""
    readiness = make_readiness(disk)
    assert readiness.not_ready_reason() is None
    disk.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/nowhere/secret")
    assert (
        readiness.not_ready_reason()
        == "the directory of PYOCI_EMBEDDED can't be written: No space left on device"
    )
    disk.error = None
    assert readiness.not_ready_reason() is None


def test_result_is_reused_for_a_second(disk: Disk) -> None:
    """For frequent probes."""
    now = [100.0]
    readiness = make_readiness(disk, clock=lambda: now[0])
    for seconds, trials in ((0, 1), (0.5, 1), (0.4, 1), (0.2, 2), (3, 3)):
        now[0] += seconds
        assert readiness.not_ready_reason() is None
        assert disk.trials == trials


def test_without_directories_always_ready() -> None:
    """With everything in memory or Redis there is nothing to try."""
    assert Readiness([]).not_ready_reason() is None


class TestHanging:
    """A disk on which a write doesn't return."""

    @pytest.fixture
    def back(self) -> Iterator[threading.Event]:
        back = threading.Event()
        yield back
        back.set()

    def test_callers_do_not_wait(self, back: threading.Event) -> None:
        """One thread hangs, however many callers there are. The server is ready when the write returns."""
        begun: list[Directory] = []
        done = threading.Event()

        def try_out(place: Directory) -> None:
            begun.append(place)
            back.wait(60)
            done.set()

        readiness = make_readiness(None, limit=0.05, try_out=try_out)
        for _ in range(5):
            found = readiness.not_ready_reason()
            assert found == "the directory of PYOCI_EMBEDDED can't be written: the disk takes too long"
        assert len(begun) == 1
        back.set()
        assert done.wait(60)


def test_each_change_is_logged_once(disk: Disk) -> None:
    """Probes come every few seconds."""
    told: list[str] = []
    readiness = make_readiness(disk, Events(lambda event, **facts: told.append(event)))
    for error in (None, None, OSError(errno.EIO, "broken"), OSError(errno.EIO, "broken"), None, None):
        disk.error = error
        readiness.not_ready_reason()
    assert told == ["not ready", "ready again"]


class TestWholeServer:
    """create_app knows the directories that must be writable."""

    @pytest.fixture(autouse=True)
    def _cache_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def test_leaves_nothing(self, make_client: MakeClient, tmp_path: Path) -> None:
        """No file is left in the directories."""
        client = make_client(PYOCI_CACHE_URL=f"file://{tmp_path}/cache")
        before = sorted(tmp_path.rglob("*"))
        assert client.get("/ready").status_code == 200
        assert sorted(tmp_path.rglob("*")) == before

    def test_full(self, make_client: MakeClient) -> None:
        """A disk without room."""
        client = make_client()
        with files_of_at_most(1000):
            answer = client.get("/ready")
        assert answer.status_code == 503
        assert answer.text == "not ready: the directory of PYOCI_CACHE_URL can't be written: File too large"

    def test_store_gone(self, make_client: MakeClient, tmp_path: Path) -> None:
        """The directory of an embedded registry that isn't mounted isn't created again."""
        client = make_client()
        shutil.rmtree(tmp_path / "registry")
        assert "PYOCI_EMBEDDED can't be written" in client.get("/ready").text
        assert not (tmp_path / "registry").exists()

    def test_cache_gone(self, make_client: MakeClient, tmp_path: Path) -> None:
        """The cache's directory is created again, because its content may be lost."""
        client = make_client(PYOCI_CACHE_URL=f"file://{tmp_path}/cache")
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        assert client.get("/ready").status_code == 200

    def test_cache_in_memory(self, make_client: MakeClient) -> None:
        """No disk is tried."""
        client = make_client(PYOCI_CACHE_URL="memory://", WEB_CONCURRENCY="1")
        with files_of_at_most(1000):
            answer = client.get("/ready")
        assert "PYOCI_EMBEDDED" in answer.text


class TestStart:
    """A cache that can't be written at the start."""

    def test_a_cache_that_can_never_be_written_stops_it(self) -> None:
        """The message names the setting. (Root may write anywhere else.)"""
        with pytest.raises(WrongSettings, match=r"PYOCI_CACHE_URL: no directory for it: .*; expected one"):
            create_app(Settings.from_environ({"PYOCI_CACHE_URL": "file:///proc/cache"}))

    def test_a_full_disk_is_a_warning(self, make_client: MakeClient, lines: Lines, tmp_path: Path) -> None:
        """There may be space later, and a server that is restarted must start."""
        with files_of_at_most(1000):
            client = make_client(PYOCI_CACHE_URL=f"file://{tmp_path}/cache")
        [line] = lines.read_lines()
        assert (line["event"], line["level"]) == ("the cache can't be written yet", "warning")
        assert client.get("/ready").status_code == 200

    def test_a_redis_that_is_away_is_a_warning(self, make_client: MakeClient, lines: Lines) -> None:
        """It may be started later. Its password isn't logged."""
        client = make_client(PYOCI_CACHE_URL="redis://:hunter2@127.0.0.1:1/0")
        [line] = lines.read_lines()
        assert (line["event"], line["level"]) == ("Redis can't be reached yet", "warning")
        assert "hunter2" not in lines.getvalue()
        assert client.get("/ready").status_code == 200
