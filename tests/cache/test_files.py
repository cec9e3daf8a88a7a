"""FileBackend: the files that it writes, and its behaviour when the disk fails."""

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

from pyoci.cache.files import FileBackend, ValueFiles
from tests.cache.neighbour import holding, started
from tests.cache.processes import ended, forked
from tests.clock import Clock

LATER = 2_000_000_000.0  # than the times of files that are written now


def only(directory: Path) -> Path:
    """The one file of a directory."""
    (path,) = directory.iterdir()
    return path


def instead(path: Path, make: Callable[[], object]) -> None:
    """Replace a file by something else."""
    path.unlink()
    make()


def used(directory: Path) -> int:
    """The bytes of all values."""
    return sum(path.stat().st_size for path in (directory / "values").iterdir())


class TestFiles:
    """Values as files."""

    def test_are_private_and_have_hashed_names(self, files: FileBackend, directory: Path) -> None:
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

    def test_expire(self, directory: Path) -> None:
        """They expire by the machine's clock, for every process; then the file is removed."""
        clock = Clock(LATER)
        clock.now = time.time()  # years later, the first sweep would remove the second file as stale
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
            pytest.param(lambda path: instead(path, path.mkdir), id="a directory"),
            pytest.param(lambda path: instead(path, lambda: os.mkfifo(path)), id="a FIFO"),
            pytest.param(lambda path: instead(path, lambda: path.symlink_to("/etc/passwd")), id="a link"),
            pytest.param(lambda path: os.truncate(path, 2**40), id="huge"),
        ],
    )
    def test_that_were_damaged_are_absent(
        self, files: FileBackend, directory: Path, harm: Callable[[Path], object]
    ) -> None:
        """A damaged file counts as absent, and other values can be written."""
        files.put("key", b"value" * 100)
        harm(only(directory / "values"))
        assert files.get("key") is None
        files.put("another", b"value")
        assert files.get("another") == b"value"

    def test_of_another_key_are_absent(self, files: FileBackend, directory: Path) -> None:
        """A file that was renamed isn't the value of its new name."""
        files.put("one", b"one")
        one = only(directory / "values")
        files.put("two", b"two")
        (two,) = set((directory / "values").iterdir()) - {one}
        shutil.copy(one, two)
        assert files.get("two") is None

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_of_another_user_are_absent(self, files: FileBackend, directory: Path) -> None:
        """Another user may have created the directory while it was gone."""
        files.put("key", b"value")
        position = files.position("name")
        for path in directory.rglob("*"):
            os.chown(path, 12345, 12345)
        assert files.get("key") is None
        assert FileBackend(directory).position("name") not in (None, position)


class TestSize:
    """The bytes of all values are bounded."""

    def make_values(self, path: Path, clock: Clock) -> ValueFiles:
        """Space for a mebibyte; sweeps run in the thread that writes."""
        return ValueFiles(path, 2**20, clock, background=lambda work: work())

    def test_is_hardly_exceeded(self, tmp_path: Path) -> None:
        """The directory stays within 33/32 of its size, whatever is written."""
        values = self.make_values(tmp_path / "values", Clock(LATER))
        for number in range(500):
            values.put(f"key {number}", bytes(10_000), None)
            assert used(tmp_path) <= 2**20 * 33 // 32 + 12_288

    def test_the_least_recently_used_values_are_removed(self, tmp_path: Path) -> None:
        """A value that is read again and again stays."""
        values = self.make_values(tmp_path / "values", Clock(LATER))  # later than what is written now
        values.put("popular", b"value", None)
        for number in range(500):
            values.put(f"key {number}", bytes(10_000), None)
            assert values.get("popular") == b"value"
        assert values.get("key 499") == bytes(10_000)
        assert values.get("key 0") is None

    @pytest.mark.parametrize("size", [64 * 2**20, 4 * 2**20], ids=["enough space", "too little space"])
    def test_a_sweep_takes_little_memory(self, tmp_path: Path, size: int) -> None:
        """It takes less than a hundred bytes for each file: there may be 65,536."""
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

    def test_a_value_that_is_too_large_is_not_stored(self, files: FileBackend) -> None:
        """The former value of its key is removed."""
        files.put("key", b"old")
        files.put("key", bytes(65 * 2**20))
        assert files.get("key") is None

    def test_stale_temporary_files_are_removed(self, tmp_path: Path) -> None:
        """A sweep removes those of writers that were killed, and leaves newer ones."""
        clock = Clock(LATER)
        values = self.make_values(tmp_path / "values", clock)
        values.put("key", b"value", None)
        old, new = tmp_path / "values" / "tmp-old", tmp_path / "values" / "tmp-new"
        for path, age in ((old, 3700), (new, 100)):
            path.touch()
            os.utime(path, (clock.now - age, clock.now - age))
        values.sweep()
        assert (old.exists(), new.exists(), values.get("key")) == (False, True, b"value")


class TestJournals:
    """All processes that share the directory append to them."""

    def test_two_servers_lose_nothing(self, files: FileBackend, directory: Path) -> None:
        """A reader sees each of the 20,000 entries of two processes exactly once."""
        position = files.position("name")
        seen: list[str] = []
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
                seen += news
                position = now
        for writer in writers:
            assert writer.wait(60) == 0
            assert writer.stdout is not None
            writer.stdout.close()
        assert position is not None
        seen += files.since("name", position) or ()
        assert sorted(seen) == sorted(f"{prefix}{number}" for prefix in "ab" for number in range(10_000))

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
    def test_that_are_lost_begin_a_new_epoch(
        self, files: FileBackend, directory: Path, harm: Callable[[Path], object]
    ) -> None:
        """No position equals a former one, even after the same records."""
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
        assert files.since("name", after[0]) == frozenset({"1.0", "2.0"})

    def test_lost_between_records_begin_a_new_epoch(self, files: FileBackend, directory: Path) -> None:
        """A record creates the journal that it needs."""
        position = files.position("name")
        shutil.rmtree(directory)
        files.record("name", "1.0")
        assert files.position("name") not in (None, position)

    def test_are_created_once_for_concurrent_readers(self, files: FileBackend, directory: Path) -> None:
        """With an epoch for each reader, all others would ask the registry again."""
        everybody = [files, *(FileBackend(directory) for _ in range(4))]
        with ThreadPoolExecutor(8) as pool:
            for name in map(str, range(40)):
                asked = [pool.submit(each.position, name) for each in everybody * 2]
                assert len({each.result() for each in asked}) == 1

    def test_torn_lines_are_no_entries(self, files: FileBackend, directory: Path) -> None:
        """`since` gives None once a torn line is followed by another."""
        position = files.position("name")
        assert position is not None
        files.record("name", "1.0")
        journal = only(directory / "journals")
        journal.write_bytes(journal.read_bytes()[:-3])
        assert files.since("name", position) == frozenset()  # its end may still be on its way
        files.record("name", "2.0")
        assert files.since("name", position) is None

    def test_have_a_limited_size(self, files: FileBackend, directory: Path) -> None:
        """A journal that has reached the limit begins a new epoch."""
        for number in range(30_000):
            files.record("name", f"an entry that is fifty characters long, number {number}")
        assert only(directory / "journals").stat().st_size < 1_100_000

    def test_have_a_limited_number(self, files: FileBackend, directory: Path) -> None:
        """Clients may ask for a million projects, and 4096 journals serve them."""
        for number in range(20_000):
            assert files.position(f"name {number}") is not None
        assert len(list((directory / "journals").iterdir())) <= 4096


class TestLocks:
    """Locks among servers."""

    def test_exclude_another_server(self, files: FileBackend, directory: Path) -> None:
        """Another server's lock ends when that server is killed."""
        with holding(f"file://{directory}", "name") as other:
            with files.lock("name", 0.1) as held, files.lock("free", 0.1) as free:
                assert (held, free) == (False, True)
            other.kill()
            with files.lock("name", 10) as held:
                assert held

    def test_survive_the_loss_of_their_file(self, files: FileBackend, directory: Path) -> None:
        """Later locks are on a new file, which every process finds."""
        with files.lock("before", 1) as before:
            shutil.rmtree(directory)
            with files.lock("after", 1) as after:
                assert (before, after) == (True, True)
            with holding(f"file://{directory}", "after"), files.lock("after", 0.1) as held:
                assert not held


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
class TestFailures:
    """No method raises, and a change that could not be recorded invalidates former positions."""

    def test_a_directory_that_can_not_be_created(self, tmp_path: Path) -> None:
        """Nothing is stored, and locks still exclude workers. Everything works once it can be created."""
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

    def test_a_directory_that_is_deleted(self, files: FileBackend, directory: Path) -> None:
        """The next write creates it again."""
        files.put("key", b"value")
        shutil.rmtree(directory.parent)
        assert files.get("key") is None
        files.put("key", b"value")
        assert files.get("key") == b"value"

    def test_a_full_disk(self, files: FileBackend) -> None:
        """Values can't be stored; the journal is removed, so that every reader learns of a change."""
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
        """A journal with half a line is removed, too."""
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
        """No worker can read its position until it has begun a new epoch."""
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
