"""Readiness: directories are really written to, seldom, and nobody waits long for one that hangs."""

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
    """Counts the trials; `not_ready_reason` is what each meets."""

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
    """Of one place, in a world where each look at the clock takes ten seconds."""
    seconds = count(100.0, 10)
    values: dict[str, Any] = {"clock": lambda: next(seconds), "limit": 60.0}
    values |= {} if disk is None else {"try_out": disk.try_out}
    return Readiness([Directory("PYOCI_EMBEDDED", Path("/nowhere"))], events, **(values | arguments))


def test_what_is_in_the_way_is_said_by_the_settings_name(disk: Disk) -> None:
    """No path: anybody may ask."""
    readiness = make_readiness(disk)
    assert readiness.not_ready_reason() is None
    disk.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/nowhere/secret")
    assert (
        readiness.not_ready_reason()
        == "the directory of PYOCI_EMBEDDED can't be written: No space left on device"
    )
    disk.error = None
    assert readiness.not_ready_reason() is None


def test_who_asks_often_gets_what_is_known(disk: Disk) -> None:
    """A trial a second is enough."""
    now = [100.0]
    readiness = make_readiness(disk, clock=lambda: now[0])
    for seconds, trials in ((0, 1), (0.5, 1), (0.4, 1), (0.2, 2), (3, 3)):
        now[0] += seconds
        assert readiness.not_ready_reason() is None
        assert disk.trials == trials


def test_no_places_are_always_ready() -> None:
    """With everything in memory, or in Redis, there is nothing to be tried out."""
    assert Readiness([]).not_ready_reason() is None


class TestHanging:
    """A disk that takes a write and doesn't come back."""

    @pytest.fixture
    def back(self) -> Iterator[threading.Event]:
        back = threading.Event()
        yield back
        back.set()

    def test_nobody_waits_for_it(self, back: threading.Event) -> None:
        """One thread hangs in it, however many ask; it is ready when that is done."""
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


def test_the_log_hears_of_each_change_once(disk: Disk) -> None:
    """Probes come every few seconds, for days."""
    told: list[str] = []
    readiness = make_readiness(disk, Events(lambda event, **facts: told.append(event)))
    for error in (None, None, OSError(errno.EIO, "broken"), OSError(errno.EIO, "broken"), None, None):
        disk.error = error
        readiness.not_ready_reason()
    assert told == ["not ready", "ready again"]


class TestWholeServer:
    """create_app knows what has to be writable."""

    @pytest.fixture(autouse=True)
    def _cache_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def test_leaves_nothing(self, make_client: MakeClient, tmp_path: Path) -> None:
        """In neither directory."""
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
        """An embedded store that isn't mounted is not made anew."""
        client = make_client()
        shutil.rmtree(tmp_path / "registry")
        assert "PYOCI_EMBEDDED can't be written" in client.get("/ready").text
        assert not (tmp_path / "registry").exists()

    def test_cache_gone(self, make_client: MakeClient, tmp_path: Path) -> None:
        """What is remembered may be lost at any time: its directory comes back."""
        client = make_client(PYOCI_CACHE_URL=f"file://{tmp_path}/cache")
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        assert client.get("/ready").status_code == 200

    def test_cache_in_memory(self, make_client: MakeClient) -> None:
        """Is no disk's business."""
        client = make_client(PYOCI_CACHE_URL="memory://", WEB_CONCURRENCY="1")
        with files_of_at_most(1000):
            answer = client.get("/ready")
        assert "PYOCI_EMBEDDED" in answer.text


class TestStart:
    """What can't be remembered anywhere."""

    def test_a_cache_that_can_never_be_written_stops_it(self) -> None:
        """With a sentence that names the setting. (Root may write anywhere else.)"""
        with pytest.raises(WrongSettings, match=r"PYOCI_CACHE_URL: no directory for it: .*; expected one"):
            create_app(Settings.from_environ({"PYOCI_CACHE_URL": "file:///proc/cache"}))

    def test_a_full_disk_is_a_warning(self, make_client: MakeClient, lines: Lines, tmp_path: Path) -> None:
        """It may have room again tomorrow; a server that was reloaded then would be gone."""
        with files_of_at_most(1000):
            client = make_client(PYOCI_CACHE_URL=f"file://{tmp_path}/cache")
        [line] = lines.read_lines()
        assert (line["event"], line["level"]) == ("nothing can be remembered yet", "warning")
        assert client.get("/ready").status_code == 200

    def test_a_redis_that_is_away_is_a_warning(self, make_client: MakeClient, lines: Lines) -> None:
        """It may come later. Its password stays where it is."""
        client = make_client(PYOCI_CACHE_URL="redis://:hunter2@127.0.0.1:1/0")
        [line] = lines.read_lines()
        assert (line["event"], line["level"]) == ("Redis can't be reached yet", "warning")
        assert "hunter2" not in lines.getvalue()
        assert client.get("/ready").status_code == 200
