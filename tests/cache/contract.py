"""What every place promises: the tests of pyoci.cache.backend.Backend, for modules that have a `backend`."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from pyoci.cache.backend import Backend, Position
from tests.cache.processes import ended, forked, holding

HOSTILE = [
    pytest.param("", id="empty"),
    pytest.param("../../etc/passwd", id="path"),
    pytest.param("a\0b", id="NUL"),
    pytest.param("a\r\nSET b c", id="line break"),
    pytest.param("\ud800", id="half a character"),
    pytest.param("ключ 🗝", id="not ASCII"),
    pytest.param("k" * 100_000, id="long"),
]
VALUES = [
    pytest.param(b"", id="empty"),
    pytest.param(bytes(range(256)) * 100, id="binary"),
    pytest.param(b"x" * 3_000_000, id="large"),
]


class Values:
    """get, put and discard."""

    def test_what_was_never_put(self, backend: Backend) -> None:
        """Nothing."""
        assert backend.get("key") is None

    @pytest.mark.parametrize("value", VALUES)
    def test_what_was_put(self, backend: Backend, value: bytes) -> None:
        """The same bytes."""
        backend.put("key", value)
        assert backend.get("key") == value

    @pytest.mark.parametrize("key", HOSTILE)
    def test_any_text_is_a_key(self, backend: Backend, key: str) -> None:
        """And no other key's."""
        backend.put(key, b"mine", 60)
        assert backend.get(key) == b"mine"
        assert backend.get(key + "x") is None

    def test_the_last_one_counts(self, backend: Backend) -> None:
        """Also where it is shorter."""
        backend.put("key", b"a long one")
        backend.put("key", b"short")
        assert backend.get("key") == b"short"

    def test_what_was_discarded_is_gone(self, backend: Backend) -> None:
        """And discarding what isn't there is nothing."""
        backend.put("key", b"value")
        backend.discard("key")
        backend.discard("key")
        assert backend.get("key") is None


class Journals:
    """position, since and record."""

    def test_nothing_recorded_is_the_same_position(self, backend: Backend) -> None:
        """And nothing since."""
        position = backend.position("name")
        assert position is not None
        assert backend.position("name") == position
        assert backend.since("name", position) == frozenset()

    def test_a_record_moves_the_position(self, backend: Backend) -> None:
        """From nothing recorded too; what came after a position is told."""
        positions = [backend.position("name")]
        for entry in ("1.0", "2.0"):
            backend.record("name", entry)
            positions.append(backend.position("name"))
        assert len(set(positions)) == 3
        told = [backend.since("name", position) for position in positions if position is not None]
        assert told == [{"1.0", "2.0"}, {"2.0"}, set()]

    def test_names_are_kept_apart(self, backend: Backend) -> None:
        """Those that share a journal, too."""
        position = backend.position("name")
        assert position is not None
        for number in range(5000):
            backend.record(f"neighbour-{number}", "1.0")
        assert backend.since("name", position) in (frozenset(), None)

    @pytest.mark.parametrize("name", HOSTILE)
    def test_any_text_is_a_name(self, backend: Backend, name: str) -> None:
        """And an entry, as long as it isn't too long."""
        position = backend.position(name)
        assert position is not None
        backend.record(name, name[:200].replace("\n", " "))
        assert backend.since(name, position) == {name[:200].replace("\n", " ")}

    def test_what_is_too_far_behind_is_told_so(self, backend: Backend) -> None:
        """None, as for a position of another life or of a time to come."""
        position = backend.position("name")
        assert position is not None
        for number in range(40_000 if type(backend).__name__ == "FileBackend" else 5000):
            backend.record("name", f"a rather long entry, number {number}")
        assert backend.since("name", position) is None
        now = backend.position("name")
        assert now is not None
        assert backend.since("name", Position("0" * 32, now.count)) is None
        assert backend.since("name", Position(now.epoch, now.count * 2)) is None


class Locks:
    """lock, among threads."""

    def test_one_at_a_time(self, backend: Backend) -> None:
        """No two threads are inside together."""
        inside: list[int] = []
        most: list[int] = []

        def work() -> None:
            for _ in range(10):
                with backend.lock("name", 30) as held:
                    assert held
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert most == [1] * 80

    def test_whoever_waits_too_long_is_told(self, backend: Backend) -> None:
        """False; another name is free, and the same one when it was given back, after a failure too."""
        with suppress(LookupError), backend.lock("name", 1) as first:
            with backend.lock("name", 0.05) as second, backend.lock("another", 0.05) as third:
                assert (first, second, third) == (True, False, True)
            raise LookupError
        with backend.lock("name", 1) as held:
            assert held


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
class Workers:
    """What was made before the fork is shared after it."""

    def test_see_what_the_others_did(self, backend: Backend) -> None:
        """Values, records, and that something was discarded; while all have used it before."""
        backend.put("gone", b"value")
        position = backend.position("name")
        assert position is not None

        def work() -> None:
            assert backend.get("gone") == b"value"
            backend.discard("gone")
            backend.put("key", b"value")
            backend.record("name", "1.0")

        assert ended(forked(work)) == 0
        assert (backend.get("gone"), backend.get("key")) == (None, b"value")
        assert backend.position("name") != position
        assert backend.since("name", position) == {"1.0"}

    def test_record_together_and_lose_nothing(self, backend: Backend) -> None:
        """Four workers, each with entries of its own."""
        position = backend.position("name")
        assert position is not None

        def record(worker: int) -> None:
            for number in range(200):
                backend.record("name", f"{worker}-{number}")

        children = [forked(lambda worker=worker: record(worker)) for worker in range(4)]  # type: ignore[misc]
        assert [ended(child) for child in children] == [0] * 4
        assert backend.since("name", position) == {f"{w}-{n}" for w in range(4) for n in range(200)}

    def test_keep_each_other_out(self, backend: Backend) -> None:
        """One holds a lock, another waits."""
        with holding(backend, "name"), backend.lock("name", 0.1) as held, backend.lock("free", 0.1) as free:
            assert (held, free) == (False, True)

    def test_leave_the_place_to_the_others(self, backend: Backend) -> None:
        """A worker that ends, or closes what it has, takes nothing away."""
        backend.put("key", b"value")
        assert ended(forked(backend.close)) == 0
        assert backend.get("key") == b"value"
        assert backend.position("name") is not None
