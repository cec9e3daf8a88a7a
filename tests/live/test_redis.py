"""RedisBackend with a real Redis: the contract of all backends, and failures of Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cache.address import CacheAddress, open_backend
from pyoci.cache.backend import Backend, Position
from pyoci.cache.journals import name_hash
from pyoci.cache.redis_backend import RedisBackend
from pyoci.cache.redis_connection import LEASE
from pyoci.events import Events
from tests.cache import contract
from tests.cache.neighbour import holding, started
from tests.cache.processes import ended, forked
from tests.live.redis_server import PASSWORD, RedisServer
from tests.waiting import until

pytestmark = pytest.mark.live("redis-server")

PAUSE = 0.2  # seconds between two attempts


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may stop."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.close()


class Told:
    """Listens to events."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, event: str, **facts: object) -> None:
        self.told.append(f"{event} {facts}")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def here(redis: RedisServer, told: Told) -> Iterator[RedisBackend]:
    """The backend of this host."""
    backend = RedisBackend(redis.url, Events(told), pause=PAUSE)
    yield backend
    backend.close()


@pytest.fixture
def there(redis: RedisServer) -> Iterator[RedisBackend]:
    """The backend of another host."""
    backend = RedisBackend(redis.url, pause=5 * PAUSE)
    yield backend
    backend.close()


class Shared:
    @pytest.fixture
    def backend(self, shared_redis: RedisServer) -> Iterator[Backend]:
        shared_redis.command("FLUSHALL")
        backend = open_backend(CacheAddress.parse(shared_redis.url))
        yield backend
        backend.close()


class TestValues(Shared, contract.Values):
    """The contract."""

    def test_are_kept_for_a_time(self, backend: Backend, shared_redis: RedisServer) -> None:
        """For the given time, or a week."""
        backend.put("key", b"value", 0.05)
        until(lambda: backend.get("key") is None, "the value to go")
        backend.put("key", b"value")
        (key,) = (
            word for word in shared_redis.command("KEYS", "*").decode().split() if word.startswith("pyoci:")
        )
        assert 600_000 < int(shared_redis.command("TTL", key)[1:]) <= 604_800

    def test_are_not_put_where_they_are_too_large(self, backend: Backend) -> None:
        """The former value is removed."""
        backend.put("key", b"value")
        backend.put("key", bytes(17 * 2**20))
        assert backend.get("key") is None


class TestJournals(Shared, contract.Journals):
    """The contract."""

    def test_that_are_lost_begin_anew(self, backend: Backend, shared_redis: RedisServer) -> None:
        """If Redis evicts them."""
        before = [backend.position("name")]
        backend.record("name", "1.0")
        before.append(backend.position("name"))
        shared_redis.command("FLUSHALL")
        after = [backend.position("name")]
        backend.record("name", "1.0")
        after.append(backend.position("name"))
        assert None not in before + after
        assert len({*before, *after}) == 4
        assert [backend.since("name", position) for position in before if position] == [None, None]

    def test_foreign_values_under_their_names_are_no_journals(
        self, backend: Backend, shared_redis: RedisServer
    ) -> None:
        """The position is unknown, and nothing is raised."""
        assert backend.position("name") is not None
        (key,) = (
            word for word in shared_redis.command("KEYS", "*").decode().split() if word.startswith("pyoci:")
        )
        shared_redis.command("SET", key, "foreign")
        assert backend.position("name") is None
        assert backend.since("name", Position("0" * 40, 1)) is None
        backend.record("name", "1.0")  # it is begun anew
        assert backend.position("name") is not None

    def test_foreign_entries_tell_nothing(self, backend: Backend, shared_redis: RedisServer) -> None:
        """Anything may have changed."""
        position = backend.position("name")
        assert position is not None
        backend.record("name", "1.0")
        (key,) = (
            word for word in shared_redis.command("KEYS", "*").decode().split() if word.startswith("pyoci:")
        )
        shared_redis.command("XADD", key, "*", "name", name_hash("name"), "entry", '"\\xff\\xfe"')
        assert backend.since("name", position) is None

    def test_two_servers_lose_nothing(self, backend: Backend, shared_redis: RedisServer) -> None:
        """They record as many entries as a journal keeps."""
        position = backend.position("name")
        assert position is not None
        for writer in [started(shared_redis.url, "record", prefix, "450") for prefix in "ab"]:
            with writer:
                assert writer.wait(60) == 0
        assert set(backend.since("name", position) or ()) == {f"{p}{n}" for p in "ab" for n in range(450)}


class TestLocks(Shared, contract.Locks):
    """The contract."""

    def test_are_held_against_another_host(self, backend: Backend, shared_redis: RedisServer) -> None:
        """As long as they are held."""
        with (
            holding(shared_redis.url, "name"),
            backend.lock("name", 0.1) as held,
            backend.lock("free", 0.1) as free,
        ):
            assert (held, free) == (False, True)

    def test_of_a_killed_host_end_by_themselves(self, backend: Backend, shared_redis: RedisServer) -> None:
        """Within thirty seconds."""
        with holding(shared_redis.url, "name") as other:
            other.kill()
            with backend.lock("name", 30) as held:
                assert held

    def test_are_renewed_while_they_are_held(self, backend: Backend, shared_redis: RedisServer) -> None:
        """They are acquired again if Redis has lost them, and released at the end."""
        backend = RedisBackend(shared_redis.url, renew=0.05)
        with backend.lock("name", 1) as held:
            assert held
            shared_redis.command("FLUSHALL")
            until(lambda: b"pyoci:lock:" in shared_redis.command("KEYS", "*"), "the lock")
            with RedisBackend(shared_redis.url).lock("name", 0.1) as other:
                assert not other
        assert b"pyoci:lock:" not in shared_redis.command("KEYS", "*")
        assert LEASE <= 30


class TestWorkers(Shared, contract.Workers):
    """The contract."""


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
class TestTrouble:
    """Redis stops, and starts again."""

    @pytest.mark.parametrize("trouble", ["stop", "freeze"])
    def test_costs_no_error(self, redis: RedisServer, here: RedisBackend, told: Told, trouble: str) -> None:
        """Meanwhile nothing is remembered, locks exclude this process's threads, and each failure is logged
        once.
        """
        here.put("key", b"value")
        getattr(redis, trouble)()
        for _ in range(3):
            here.put("key", b"another")
            here.discard("key")
            here.record("name", "1.0")
            assert (here.get("key"), here.position("name")) == (None, None)
            assert here.since("name", Position("0" * 40, 1)) is None
            with here.lock("name", 1) as first, here.lock("name", 0.05) as second:
                assert (first, second) == (True, False)
        assert [event.split(" {")[0] for event in told.told] == ["Redis can't be reached"]
        redis.start() if trouble == "stop" else redis.thaw()
        until(lambda: here.position("name"), "a position")
        here.put("key", b"value")
        assert here.get("key") == b"value"
        assert [event.split(" {")[0] for event in told.told] == ["Redis can't be reached", "Redis is back"]

    def test_what_was_missed_is_not_taken_for_unchanged(
        self, redis: RedisServer, here: RedisBackend, there: RedisBackend
    ) -> None:
        """Neither here nor by another host that lost its connection at the same time."""
        for name in ("name", "quiet"):
            there.record(name, "1.0")
        before = there.position("name"), there.position("quiet")
        redis.freeze()
        assert (there.position("name"), here.position("name")) == (None, None)
        here.record("name", "2.0")
        redis.thaw()
        told = until(lambda: there.position("name"), "a position")
        assert None not in before
        assert told != before[0]
        assert there.position("quiet") == before[1]
        until(lambda: here.position("name") == told, "the same position")

    def test_another_worker_repairs_for_a_dead_one(self, redis: RedisServer, here: RedisBackend) -> None:
        """It knows the unrecorded entries."""
        before = here.position("name")

        def work() -> None:
            redis.freeze()
            here.record("name", "1.0")

        assert ended(forked(work)) == 0
        redis.thaw()
        until(lambda: here.position("name"), "a position")
        assert here.position("name") != before

    def test_an_older_copy_begins_new_epochs(self, redis: RedisServer, here: RedisBackend) -> None:
        """Redis starts with an older state, without the latest entries."""
        before = here.position("name")
        redis.command("SAVE")
        here.record("name", "1.0")
        redis.stop()
        redis.start()
        assert b"pyoci:journal:" in redis.command("KEYS", "*")
        position = until(lambda: here.position("name"), "a position")
        assert before is not None
        assert position.count == before.count
        assert position != before

    def test_out_of_memory(self, redis: RedisServer, here: RedisBackend) -> None:
        """A journal that can't be written is removed. Existing values are kept."""
        here.put("key", b"value")
        before = here.position("name")
        redis.command("CONFIG", "SET", "maxmemory", "1")
        here.put("new", b"value")
        here.record("name", "1.0")
        assert (here.get("key"), here.get("new"), here.position("name")) == (b"value", None, None)
        with here.lock("name", 1) as held:
            assert held
        redis.command("CONFIG", "SET", "maxmemory", "0")
        assert here.position("name") not in (None, before)

    def test_a_server_that_was_never_there(self, told: Told) -> None:
        """PyOCI starts, and the password is in no log."""
        backend = RedisBackend("redis://me:hunter2@127.0.0.1:9/0", Events(told))
        assert backend.get("key") is None
        assert backend.position("name") is None
        assert "hunter2" not in repr(backend) + str(told.told)
        backend.close()

    def test_a_wrong_password(self, redis: RedisServer, told: Told) -> None:
        """It is like an unreachable Redis."""
        backend = RedisBackend(f"redis://:wrong-secret@{redis.address}/0", Events(told))
        assert backend.get("key") is None
        assert len(told.told) == 1
        assert "wrong-secret" not in repr(backend) + str(told.told)
        assert PASSWORD not in repr(backend)
        backend.close()

    def test_nothing_readable_stands_there(self, redis: RedisServer, here: RedisBackend) -> None:
        """Keys and names are hashed."""
        here.put("https://registry.example acme/secret", b"value")
        here.record("https://registry.example acme/secret", "1.0")
        with here.lock("https://registry.example acme/secret", 1):
            keys = redis.command("KEYS", "*")
        assert keys.count(b"pyoci:") == 3
        assert b"secret" not in keys
