"""FileBackend: what lies on the disk, and what becomes of it when the disk fails."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyoci.cache.files import FileBackend
from pyoci.cache.values import ValueFiles
from tests.cache.neighbour import holding, started
from tests.cache.processes import ended, forked


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 2_000_000_000.0

    def __call__(self) -> float:
        return self.now


def only(folder: Path) -> Path:
    """The one file of a folder."""
    (path,) = folder.iterdir()
    return path


def used(directory: Path) -> int:
    """Bytes that the values take."""
    return sum(path.stat().st_size for path in (directory / "values").iterdir())


class TestFiles:
    """What others could see."""

    def test_are_for_our_user_alone_and_named_for_nothing(self, files: FileBackend, directory: Path) -> None:
        """Directories 0700, files 0600; keys, names and locks are hashed."""
        files.put("https://registry.example acme/secret", b"value")
        files.record("https://registry.example acme/secret", "1.0")
        with files.lock("https://registry.example acme/secret", 1):
            pass
        found = [directory, *directory.rglob("*")]
        modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found}
        assert modes == {(True, 0o700), (False, 0o600)}
        assert len(found) == 6
        assert not [path for path in directory.rglob("*") if "secret" in path.name or "acme" in path.name]

    def test_live_as_long_as_was_said(self, directory: Path) -> None:
        """By the clock of the machine, for every process; then the file goes."""
        clock = Clock()
        clock.now = time.time()  # years later, the first sweep would take the second file for a dead writer's
        files = FileBackend(directory, clock=clock)
        files.put("key", b"value", 60)
        files.put("for ever", b"value")
        clock.now += 59
        assert files.get("key") == b"value"
        clock.now += 2
        assert files.get("key") is None
        assert len(list((directory / "values").iterdir())) == 1
        clock.now += 10**9
        assert files.get("for ever") == b"value"

    @pytest.mark.parametrize(
        "harm",
        [
            pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), id="torn"),
            pytest.param(lambda path: path.write_bytes(path.read_bytes()[:20]), id="torn in its head"),
            pytest.param(lambda path: path.write_bytes(b""), id="empty"),
            pytest.param(lambda path: path.write_bytes(bytes(path.stat().st_size)), id="zeros"),
            pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"x"), id="longer"),
            pytest.param(lambda path: path.write_bytes(os.urandom(1000)), id="foreign"),
            pytest.param(lambda path: path.unlink() or path.mkdir(), id="a directory"),
            pytest.param(lambda path: path.unlink() or os.mkfifo(path), id="a FIFO"),
            pytest.param(lambda path: path.unlink() or path.symlink_to("/etc/passwd"), id="a link"),
            pytest.param(lambda path: os.truncate(path, 2**40), id="huge"),
        ],
    )
    def test_that_are_not_what_was_written_are_nothing(
        self, files: FileBackend, directory: Path, harm: Callable[[Path], object]
    ) -> None:
        """And raise nothing, nor keep others from being written."""
        files.put("key", b"value" * 100)
        harm(only(directory / "values"))
        assert files.get("key") is None
        files.put("another", b"value")
        assert files.get("another") == b"value"

    def test_of_another_key_are_nothing(self, files: FileBackend, directory: Path) -> None:
        """A file that was renamed doesn't answer for its new name."""
        files.put("one", b"one")
        one = only(directory / "values")
        files.put("two", b"two")
        (two,) = set((directory / "values").iterdir()) - {one}
        shutil.copy(one, two)
        assert files.get("two") is None

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_of_another_user_are_nothing(self, files: FileBackend, directory: Path) -> None:
        """Somebody may have got hold of the directory's name while it was gone."""
        files.put("key", b"value")
        position = files.position("name")
        for path in directory.rglob("*"):
            os.chown(path, 12345, 12345)
        assert files.get("key") is None
        assert FileBackend(directory).position("name") not in (None, position)


class TestRoom:
    """Values are bounded by their bytes."""

    def make_values(self, path: Path, clock: Clock) -> ValueFiles:
        """Room for a mebibyte, swept when we say so."""
        return ValueFiles(path, 2**20, clock, background=lambda work: work())

    def test_is_never_much_exceeded(self, tmp_path: Path) -> None:
        """However much is put."""
        values = self.make_values(tmp_path / "values", Clock())
        for number in range(500):
            values.put(f"key {number}", bytes(10_000), None)
            assert used(tmp_path) <= 2**20 * 33 // 32 + 12_288

    def test_is_made_by_what_was_used_least_recently(self, tmp_path: Path) -> None:
        """What is read again and again stays."""
        values = self.make_values(tmp_path / "values", Clock())  # later than what is written now
        values.put("popular", b"value", None)
        for number in range(500):
            values.put(f"key {number}", bytes(10_000), None)
            assert values.get("popular") == b"value"
        assert values.get("key 499") == bytes(10_000)
        assert values.get("key 0") is None

    @pytest.mark.parametrize("size", [64 * 2**20, 4 * 2**20], ids=["room", "no room"])
    def test_takes_little_memory_to_make(self, tmp_path: Path, size: int) -> None:
        """A hundred bytes for each file: there may be 65,536."""
        folder = tmp_path / "values"
        folder.mkdir(mode=0o700)
        for number in range(4000):
            path = folder / f"{number:064x}"
            path.write_bytes(b"value")
            os.utime(path, (number, number))
        values = ValueFiles(folder, size)
        tracemalloc.start()
        values.sweep()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4000 * 100
        assert len(list(folder.iterdir())) == min(4000, size * 7 // 8 // 4096)

    def test_is_not_given_to_one_that_would_take_all(self, files: FileBackend) -> None:
        """And what stood under its key is gone."""
        files.put("key", b"old")
        files.put("key", bytes(65 * 2**20))
        assert files.get("key") is None

    def test_is_taken_by_no_temporary_files(self, tmp_path: Path) -> None:
        """Those of writers that were killed go; those of the others stay."""
        clock = Clock()
        values = self.make_values(tmp_path / "values", clock)
        values.put("key", b"value", None)
        old, new = tmp_path / "values" / "tmp-old", tmp_path / "values" / "tmp-new"
        for path, age in ((old, 3700), (new, 100)):
            path.touch()
            os.utime(path, (clock.now - age, clock.now - age))
        values.sweep()
        assert (old.exists(), new.exists(), values.get("key")) == (False, True, b"value")


class TestJournals:
    """Appended to by all who share the directory."""

    def test_two_servers_lose_nothing(self, files: FileBackend, directory: Path) -> None:
        """Twenty thousand records of two processes, each told exactly once to one who follows."""
        position = files.position("name")
        told: list[str] = []
        writers = [started(f"file://{directory}", "record", prefix, "10000") for prefix in "ab"]
        running = True
        while running:
            running = any(writer.poll() is None for writer in writers)
            now = files.position("name")
            assert position is not None
            assert now is not None
            if now == position:
                continue
            news = files.since("name", position)
            later = files.position("name")
            if news is not None and now == later and files.since("name", now) is not None:
                told += news
                position = now
        for writer in writers:
            assert writer.wait(60) == 0
            assert writer.stdout is not None
            writer.stdout.close()
        assert position is not None
        told += files.since("name", position) or ()
        assert sorted(told) == sorted(f"{prefix}{number}" for prefix in "ab" for number in range(10_000))

    @pytest.mark.parametrize(
        "harm",
        [
            pytest.param(lambda path: path.unlink(), id="gone"),
            pytest.param(lambda path: shutil.rmtree(path.parent.parent), id="gone with the directory"),
            pytest.param(lambda path: path.write_bytes(b""), id="empty"),
            pytest.param(lambda path: path.write_bytes(bytes(93)), id="zeros"),
            pytest.param(lambda path: path.write_bytes(os.urandom(93)), id="foreign"),
        ],
    )
    def test_that_are_lost_begin_anew(
        self, files: FileBackend, directory: Path, harm: Callable[[Path], object]
    ) -> None:
        """No position equals one from before, with the same records neither; and nothing is told since."""
        before = [files.position("name")]
        for entry in ("1.0", "2.0"):
            files.record("name", entry)
            before.append(files.position("name"))
        harm(only(directory / "journals"))
        after = [files.position("name")]
        for entry in ("1.0", "2.0"):
            files.record("name", entry)
            after.append(files.position("name"))
        assert None not in before + after
        assert len({*before, *after}) == 6
        assert [files.since("name", position) for position in before if position] == [None] * 3
        assert after[0] is not None
        assert files.since("name", after[0]) == {"1.0", "2.0"}

    def test_that_are_lost_between_records_begin_anew(self, files: FileBackend, directory: Path) -> None:
        """A record makes the journal that it needs."""
        position = files.position("name")
        shutil.rmtree(directory)
        files.record("name", "1.0")
        assert files.position("name") not in (None, position)

    def test_that_many_miss_at_once_are_made_once(self, files: FileBackend, directory: Path) -> None:
        """With an epoch for each, all who saw another one would ask the registry again."""
        everybody = [files, *(FileBackend(directory) for _ in range(4))]
        with ThreadPoolExecutor(8) as pool:
            for name in map(str, range(40)):
                asked = [pool.submit(each.position, name) for each in everybody * 2]
                assert len({each.result() for each in asked}) == 1

    def test_torn_lines_are_no_entries(self, files: FileBackend, directory: Path) -> None:
        """Whoever comes upon one asks for everything."""
        position = files.position("name")
        assert position is not None
        files.record("name", "1.0")
        journal = only(directory / "journals")
        journal.write_bytes(journal.read_bytes()[:-3])
        assert files.since("name", position) == frozenset()  # its end may still be on its way
        files.record("name", "2.0")
        assert files.since("name", position) is None

    def test_do_not_grow_without_end(self, files: FileBackend, directory: Path) -> None:
        """They begin anew."""
        for number in range(30_000):
            files.record("name", f"an entry that is fifty characters long, number {number}")
        assert only(directory / "journals").stat().st_size < 1_100_000

    def test_are_few_whatever_is_asked_for(self, files: FileBackend, directory: Path) -> None:
        """Clients may ask for a million projects."""
        for number in range(20_000):
            assert files.position(f"name {number}") is not None
        assert len(list((directory / "journals").iterdir())) <= 4096


class TestLocks:
    """Among servers."""

    def test_are_held_against_another_server(self, files: FileBackend, directory: Path) -> None:
        """Until it is killed."""
        with holding(f"file://{directory}", "name") as other:
            with files.lock("name", 0.1) as held, files.lock("free", 0.1) as free:
                assert (held, free) == (False, True)
            other.kill()
            with files.lock("name", 10) as held:
                assert held

    def test_survive_the_loss_of_their_file(self, files: FileBackend, directory: Path) -> None:
        """Whoever came after that agrees on another one."""
        with files.lock("before", 1) as before:
            shutil.rmtree(directory)
            with files.lock("after", 1) as after:
                assert (before, after) == (True, True)
            with holding(f"file://{directory}", "after"), files.lock("after", 0.1) as held:
                assert not held


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
class TestTrouble:
    """No method raises, and what could not be recorded is not taken for unchanged."""

    def test_a_directory_that_can_not_be(self, tmp_path: Path) -> None:
        """Nothing is remembered; workers are kept apart still; and when it can be, all is well."""
        (tmp_path / "file").touch()
        files = FileBackend(tmp_path / "file" / "cache")
        files.put("key", b"value")
        files.discard("key")
        files.record("name", "1.0")
        assert (files.get("key"), files.position("name")) == (None, None)
        with files.lock("name", 1) as first, files.lock("name", 0.05) as second:
            assert (first, second) == (True, False)
        (tmp_path / "file").unlink()
        files.put("key", b"value")
        assert files.get("key") == b"value"
        assert files.position("name") is not None

    def test_a_directory_that_goes(self, files: FileBackend, directory: Path) -> None:
        """It comes back with what is put next."""
        files.put("key", b"value")
        shutil.rmtree(directory.parent)
        assert files.get("key") is None
        files.put("key", b"value")
        assert files.get("key") == b"value"

    def test_a_full_disk(self, files: FileBackend) -> None:
        """Values stay away; the journal goes, so that all others learn that something happened."""
        files.put("key", b"value")
        files.record("name", "1.0")
        before = files.position("name")

        def work() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            files.put("key", b"another")
            files.put("new", b"value")
            assert (files.get("key"), files.get("new")) == (b"value", None)
            files.record("name", "2.0")
            assert files.position("name") is None

        assert ended(forked(work)) == 0
        after = files.position("name")
        assert before is not None
        assert after not in (None, before)
        assert files.since("name", before) is None

    def test_a_line_that_did_not_fit(self, files: FileBackend, directory: Path) -> None:
        """Half of it was written: the journal goes, too."""
        before = files.position("name")
        size = only(directory / "journals").stat().st_size

        def work() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
            files.record("name", "1.0")
            assert files.position("name") not in (None, before)

        assert ended(forked(work)) == 0
        assert files.position("name") not in (None, before)

    def test_a_journal_that_can_be_neither_written_nor_removed(
        self, files: FileBackend, directory: Path
    ) -> None:
        """No worker can tell its position, until it was begun anew."""
        before = files.position("name")
        journal = only(directory / "journals")
        kept = directory / "kept"
        journal.rename(kept)
        journal.mkdir()
        (journal / "not empty").touch()
        assert ended(forked(lambda: files.record("name", "1.0"))) == 0
        shutil.rmtree(journal)
        kept.rename(journal)
        assert files.position("name") not in (None, before)
