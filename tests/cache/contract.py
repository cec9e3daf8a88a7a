"""The contract of pyoci.cache.backend.Backend, for test modules that have a fixture `backend`."""

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

    def test_a_missing_key(self, backend: Backend) -> None:
        """There is no value for a key that was never put."""
        assert backend.get("key") is None

    @pytest.mark.parametrize("value", VALUES)
    def test_a_value_that_was_put(self, backend: Backend, value: bytes) -> None:
        """The value is the bytes that were put."""
        backend.put("key", value)
        assert backend.get("key") == value

    @pytest.mark.parametrize("key", HOSTILE)
    def test_any_text_is_a_key(self, backend: Backend, key: str) -> None:
        """Any text is a key, and has no value of another key."""
        backend.put(key, b"mine", 60)
        assert backend.get(key) == b"mine"
        assert backend.get(key + "x") is None

    def test_a_value_replaces_the_former_one(self, backend: Backend) -> None:
        """A shorter value replaces a longer one completely."""
        backend.put("key", b"a long one")
        backend.put("key", b"short")
        assert backend.get("key") == b"short"

    def test_discard_removes_the_value(self, backend: Backend) -> None:
        """Discarding a missing value does nothing."""
        backend.put("key", b"value")
        backend.discard("key")
        backend.discard("key")
        assert backend.get("key") is None


class Journals:
    """position, since and record."""

    def test_nothing_recorded_is_the_same_position(self, backend: Backend) -> None:
        """Without a record the position stays, and `since` is empty."""
        position = backend.position("name")
        assert position is not None
        assert backend.position("name") == position
        assert backend.since("name", position) == frozenset()

    def test_a_record_moves_the_position(self, backend: Backend) -> None:
        """Each record changes the position; `since` gives the entries after it."""
        positions = [backend.position("name")]
        for entry in ("1.0", "2.0"):
            backend.record("name", entry)
            positions.append(backend.position("name"))
        assert len(set(positions)) == 3
        found = [backend.since("name", position) for position in positions if position is not None]
        assert found == [frozenset({"1.0", "2.0"}), frozenset({"2.0"}), frozenset()]

    def test_names_are_kept_apart(self, backend: Backend) -> None:
        """`since` never gives the entries of another name, also where two names share a journal."""
        position = backend.position("name")
        assert position is not None
        for number in range(5000):
            backend.record(f"neighbour-{number}", "1.0")
        assert backend.since("name", position) in (frozenset(), None)

    @pytest.mark.parametrize("name", HOSTILE)
    def test_any_text_is_a_name(self, backend: Backend, name: str) -> None:
        """Any text is a name, and an entry of at most 200 characters."""
        position = backend.position(name)
        assert position is not None
        backend.record(name, name[:200].replace("\n", " "))
        assert backend.since(name, position) == frozenset({name[:200].replace("\n", " ")})

    def test_since_a_position_that_is_too_old(self, backend: Backend) -> None:
        """`since` gives None, as for a position of another epoch or one in the future."""
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

    def test_exclude_each_other(self, backend: Backend) -> None:
        """No two threads hold the lock at the same time."""
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

    def test_time_out(self, backend: Backend) -> None:
        """A waiter gets False; another name is free; the lock is released, also after an exception."""
        with suppress(LookupError), backend.lock("name", 1) as first:
            with backend.lock("name", 0.05) as second, backend.lock("another", 0.05) as third:
                assert (first, second, third) == (True, False, True)
            raise LookupError
        with backend.lock("name", 1) as held:
            assert held


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
class Workers:
    """A backend that was created before the fork is shared after it."""

    def test_see_each_others_changes(self, backend: Backend) -> None:
        """A worker sees values, records and discarded values of another, though it has used them before."""
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
        assert backend.since("name", position) == frozenset({"1.0"})

    def test_record_concurrently_and_lose_nothing(self, backend: Backend) -> None:
        """All entries of four workers are there."""
        position = backend.position("name")
        assert position is not None

        def record(worker: int) -> None:
            for number in range(200):
                backend.record("name", f"{worker}-{number}")

        children = [forked(lambda worker=worker: record(worker)) for worker in range(4)]  # type: ignore[misc]
        assert [ended(child) for child in children] == [0] * 4
        everything = frozenset(f"{w}-{n}" for w in range(4) for n in range(200))
        assert backend.since("name", position) == everything

    def test_exclude_each_other(self, backend: Backend) -> None:
        """A lock that one worker holds can't be acquired by another."""
        with holding(backend, "name"), backend.lock("name", 0.1) as held, backend.lock("free", 0.1) as free:
            assert (held, free) == (False, True)

    def test_close_only_their_own_part(self, backend: Backend) -> None:
        """A worker that ends, or closes the backend, removes nothing."""
        backend.put("key", b"value")
        assert ended(forked(backend.close)) == 0
        assert backend.get("key") == b"value"
        assert backend.position("name") is not None
