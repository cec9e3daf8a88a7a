"""PYOCI_CACHE_KEY: somebody who can write to Redis without the key can't change what clients install."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis

from pyoci.app import create_app
from pyoci.cache.address import CacheAddress, open_backend
from pyoci.cache.backend import Backend
from pyoci.cache.redis_backend import RedisBackend
from pyoci.config import Settings
from pyoci.events import Events
from pyoci.oci.models import Document
from pyoci.store.layout import CORE_METADATA
from pyoci.store.state import TTL, TTL_OLD, TagState
from tests.builders import make_wheel
from tests.cache import contract
from tests.live.redis_server import RedisServer
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, page, publish_wheel
from tests.stores import make_cache

pytestmark = pytest.mark.live("redis-server")

KEY, OTHER_KEY = "the key of these tests, of all servers", "what somebody guessed the key might be"
EVIL = hashlib.sha256(b"Requires-Dist: evil").hexdigest()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@dataclass
class Told:
    """Listens to events: what was logged, and what was counted."""

    logged: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    counted: list[tuple[str, ...]] = field(default_factory=list)

    def events(self) -> Events:
        return Events(
            log=lambda event, **facts: self.logged.append((event, facts)),
            count=lambda *labels: self.counted.append(labels),
        )


@pytest.fixture
def told() -> Told:
    return Told()


OpenBackend = Callable[..., RedisBackend]


@pytest.fixture
def open_redis(redis: RedisServer) -> Iterator[OpenBackend]:
    """Opens backends of an empty Redis."""
    redis.command("FLUSHALL")
    opened: list[RedisBackend] = []

    def make(key: str = KEY, events: Events | None = None) -> RedisBackend:
        opened.append(RedisBackend(redis.url, events, key=key))
        return opened[-1]

    yield make
    for backend in opened:
        backend.close()


@pytest.fixture
def shelf(tmp_path: Path) -> TestRegistry:
    """An embedded registry in this process."""
    return TestRegistry(tmp_path / "registry")


@pytest.fixture
def attacker(redis: RedisServer) -> Iterator[Redis]:
    """A client of Redis without the key."""
    client = Redis.from_url(redis.url)
    yield client
    client.close()


def names(attacker: Redis) -> list[bytes]:
    """All keys of PyOCI, as bytes."""
    return cast(list[bytes], attacker.keys("pyoci:*"))


def value(attacker: Redis, name: bytes) -> bytes:
    """The value of a key, as bytes."""
    return cast(bytes, attacker.get(name))


def stored(attacker: Redis, kind: str = "signed") -> list[bytes]:
    """The names of all values."""
    return [name for name in names(attacker) if name.startswith(f"pyoci:{kind}:".encode())]


class TestValues(contract.Values):
    """The contract of all backends, with signed values."""

    @pytest.fixture
    def backend(self, redis: RedisServer) -> Iterator[Backend]:
        redis.command("FLUSHALL")
        backend = open_backend(CacheAddress.parse(redis.url), key=KEY)
        yield backend
        backend.close()


class TestForged:
    @pytest.mark.parametrize(
        "forged",
        [
            pytest.param(lambda value: b"forged", id="another value"),
            pytest.param(lambda value: value[:-1] + b"X", id="its last byte"),
            pytest.param(lambda value: b"X" + value[1:], id="the first byte of its HMAC"),
            pytest.param(lambda value: value + b"X", id="a byte more"),
            pytest.param(lambda value: value[:-1], id="a byte less"),
            pytest.param(lambda value: value[32:], id="without its HMAC"),
            pytest.param(lambda value: value[:32], id="its HMAC alone"),
            pytest.param(lambda value: b"", id="nothing"),
        ],
    )
    def test_a_value_that_was_rewritten_is_absent(
        self, open_redis: OpenBackend, attacker: Redis, told: Told, forged: Callable[[bytes], bytes]
    ) -> None:
        """Each look-up is counted, and the first is logged. The next write replaces it."""
        here = open_redis(events=told.events())
        here.put("key", b"value")
        (name,) = stored(attacker)
        attacker.set(name, forged(value(attacker, name)))
        assert [here.get("key") for _ in range(3)] == [None] * 3
        assert told.counted == [("cache", "signature", "miss")] * 3
        ((event, facts),) = told.logged
        assert (event, facts["level"]) == ("value in Redis refused", "warning")
        here.put("key", b"value")
        assert here.get("key") == b"value"

    def test_a_value_that_was_moved_is_absent(self, open_redis: OpenBackend, attacker: Redis) -> None:
        """The signature includes its name."""
        here = open_redis()
        for key in ("one", "two"):
            here.put(key, key.encode())
        one, two = stored(attacker)
        first, second = value(attacker, one), value(attacker, two)
        attacker.set(one, second)
        attacker.set(two, first)
        assert [here.get(key) for key in ("one", "two")] == [None, None]

    def test_an_older_value_that_is_put_back_counts(self, open_redis: OpenBackend, attacker: Redis) -> None:
        """As in docs/security.rst: what is remembered contains its own age."""
        here = open_redis()
        here.put("key", b"older")
        (name,) = stored(attacker)
        older = value(attacker, name)
        here.put("key", b"newer")
        attacker.set(name, older)
        assert here.get("key") == b"older"


class TestKeys:
    def test_servers_of_one_key_share_values(self, open_redis: OpenBackend) -> None:
        """And not with others."""
        open_redis().put("key", b"value")
        assert open_redis().get("key") == b"value"
        assert open_redis(OTHER_KEY).get("key") is None
        assert open_redis("").get("key") is None

    def test_the_key_is_in_no_value_repr_or_log(
        self, open_redis: OpenBackend, attacker: Redis, told: Told
    ) -> None:
        """Although both mention the setting."""
        here = open_redis(events=told.events())
        here.put("key", b"value")
        open_redis(OTHER_KEY, told.events()).get("key")
        values = [value(attacker, name) for name in stored(attacker)]
        assert KEY not in f"{values} {here!r} {told}"
        assert OTHER_KEY not in f"{told}"

    def test_a_cache_from_before_counts_as_empty(self, open_redis: OpenBackend, told: Told) -> None:
        """Its values aren't read, nothing is logged, and servers without the key still use theirs."""
        before, after = open_redis(""), open_redis(events=told.events())
        before.put("key", b"from before")
        assert after.get("key") is None
        after.put("key", b"signed")
        assert (before.get("key"), after.get("key")) == (b"from before", b"signed")
        assert told.logged == []

    def test_journals_and_locks_are_shared_by_all(self, open_redis: OpenBackend) -> None:
        """While servers are replaced, changes by one are visible at once at the others."""
        before, after = open_redis(""), open_redis()
        position = after.position("name")
        assert position is not None
        before.record("name", "1.0")
        assert set(after.since("name", position) or ()) == {"1.0"}
        with before.lock("name", 1) as held, after.lock("name", 0.05) as other:
            assert (held, other) == (True, False)


@pytest.mark.parametrize(
    ("key", "guess", "announced"),
    [
        pytest.param("", "", True, id="without a key, whoever can write is trusted"),
        pytest.param(KEY, OTHER_KEY, False, id="with a key"),
        pytest.param(KEY, "", False, id="with a key, unsigned"),
    ],
)
def test_a_page_is_not_what_a_stranger_wrote(
    shelf: TestRegistry, open_redis: OpenBackend, attacker: Redis, key: str, guess: str, announced: bool
) -> None:
    """State and document, rewritten to announce other METADATA with an attacker's dependency."""
    repository = make_repository()
    cache = make_cache(open_redis(key))
    ours, store = cache.of(repository), shelf.store(cache=cache)
    publish_wheel(store, "1.0")
    (honest,) = page(store).files
    state = ours.state()
    ((tag, seen),) = state.tag_states.items()
    document = forged_document(ours.documents.unpack(state.packs)[seen.digest])

    theirs = make_cache(open_redis(guess)).of(repository)
    packs = theirs.documents.pack({document.digest: document}, replace(state, packs=()))
    other = TagState(document.digest, seen.looked, seen.changed)
    theirs.put_state(replace(state, tag_states={tag: other}, packs=packs))
    if key and not guess:  # the values of those names, in place of the signed ones
        for name in stored(attacker, "value"):
            attacker.rename(name, name.replace(b":value:", b":signed:"))

    # Another worker, which remembers nothing by itself.
    (shown,) = page(shelf.store(cache=make_cache(open_redis(key)))).files
    assert (shown.core_metadata == EVIL) is announced
    assert (shown == honest) is not announced


def forged_document(document: Document) -> Document:
    """The same image index with the hash of other METADATA."""
    content = json.loads(document.body)
    for manifest in content["manifests"]:
        manifest["annotations"][CORE_METADATA] = EVIL
    return Document(document.media_type, json.dumps(content).encode())


@pytest.mark.parametrize(
    ("days", "seconds"),
    [pytest.param(0, TTL, id="published lately"), pytest.param(2, TTL_OLD, id="published days ago")],
)
def test_what_is_put_back_counts_no_longer_than_it_would(
    shelf: TestRegistry, open_redis: OpenBackend, attacker: Redis, days: int, seconds: float
) -> None:
    """The whole Redis from before a yank, with its journals: remembered values expire as usual."""
    published = datetime.now(UTC) - timedelta(days=days)
    here = shelf.store(cache=make_cache(open_redis()), now=lambda: published)
    publish_wheel(here, "1.0")
    assert [file.yanked for file in page(here).files] == [None]
    before = {name: cast(bytes, attacker.dump(name)) for name in names(attacker)}
    here.yank(make_namespace(), HELLO, "1.0", "a reason", NOBODY)
    assert [file.yanked for file in page(here).files] == ["a reason"]

    def shown(later: float) -> list[str | None]:
        """The page of a worker with an empty memory, `seconds` later."""
        attacker.flushall()
        for name, value in before.items():
            attacker.restore(name, 0, value)
        cache = make_cache(open_redis(), now=lambda: time.time() + later)
        return [file.yanked for file in page(shelf.store(cache=cache)).files]

    assert shown(0) == [None]
    assert shown(seconds - 30) == [None]
    assert shown(seconds + 1) == ["a reason"]


def test_the_setting_signs_what_a_server_remembers(
    redis: RedisServer, attacker: Redis, tmp_path: Path
) -> None:
    """Every value."""
    redis.command("FLUSHALL")
    environ = {
        "PYOCI_EMBEDDED": str(tmp_path / "packages"),
        "PYOCI_CACHE_URL": redis.url,
        "PYOCI_CACHE_KEY": KEY,
        "WEB_CONCURRENCY": "1",
    }
    client = create_app(Settings.from_environ(environ)).test_client()
    filename, content = make_wheel()
    form: dict[str, Any] = {":action": "file_upload", "protocol_version": "1"}
    form |= {"name": "hello-world", "version": "1.0"}
    form["content"] = (io.BytesIO(content), filename)
    assert client.post("/local/acme/", data=form).status_code == 200
    assert client.get("/local/acme/hello-world/").status_code == 200
    assert len(stored(attacker)) >= 3
    assert stored(attacker, "value") == []
