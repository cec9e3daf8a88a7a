"""Registries that lag, fail for a while, or whose answer is lost: no file is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
import werkzeug.test

from pyoci.errors import InvalidRequest, PyOCIError, RateLimited, Unreachable
from pyoci.oci.references import Digest, Tag
from pyoci.store.service import PackageStore
from pyoci.store.writing.lag import RecentWrites, WriteLatency
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, names, publish, publish_wheel
from tests.stores import make_cache

ACME = make_namespace()
REPOSITORY, TAG = make_repository(), Tag.parse("1.0")
WHEEL, SDIST = make_wheel()[0], make_sdist()[0]
A, B, C = (Digest("sha256", letter * 64) for letter in "abc")


class Lagging:
    """Answers a read by tag with what was there before the last `lag` writes of it."""

    def __init__(self, registry: TestRegistry, lag: int) -> None:
        self.lag = lag
        self._registry, self._inner = registry, registry._app
        self._history: dict[str, list[bytes | None]] = {}
        registry._app = self  # type: ignore[assignment]

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        method, _, path = (environ["REQUEST_METHOD"], None, environ["PATH_INFO"])
        if "/manifests/" not in path or "sha256:" in path:
            return self._inner(environ, start_response)
        if method in {"PUT", "DELETE"}:
            self._history.setdefault(path, []).append(self._present(path))
        past = self._history.get(path, [])
        if method == "GET" and self.lag and past:
            return _answer(past[-self.lag] if self.lag <= len(past) else past[0], start_response)
        return self._inner(environ, start_response)

    def _present(self, path: str) -> bytes | None:
        answer = werkzeug.test.Client(self._inner).get(path)
        return answer.data if answer.status_code == 200 else None


def _answer(body: bytes | None, start_response: Any) -> list[bytes]:
    if body is None:
        body = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN"}]}).encode()
        start_response("404 Not Found", [("Content-Length", str(len(body)))])
    else:
        kind = "application/vnd.oci.image.index.v1+json"
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_a_registry_that_lags_loses_no_file(registry: TestRegistry, store: PackageStore, lag: int) -> None:
    """ghcr.io and Docker Hub (quirk 3): an answer that our own writes replaced is stale, and not used."""
    lagging = Lagging(registry, lag)
    uploads = [make_wheel(tag=f"cp3{minor}-none-any") for minor in range(6)]
    for filename, data in uploads:
        publish(store, filename, data)
    store.yank(ACME, HELLO, uploads[0][0], "broken", NOBODY)
    store.delete(ACME, HELLO, uploads[1][0], NOBODY)
    publish(store, *make_sdist())
    expected = {SDIST, *(filename for filename, _ in uploads)} - {uploads[1][0]}
    assert set(names(store)) == expected  # the page has our own writes, although the registry lags
    lagging.lag = 0
    assert set(names(registry.store())) == expected


def test_a_newer_write_from_elsewhere_is_not_stale(registry: TestRegistry, store: PackageStore) -> None:
    """What we have not replaced ourselves is somebody else's, and stays."""
    publish(store, *make_wheel())
    elsewhere = registry.store()
    publish(elsewhere, *make_wheel(tag="py2-none-any"))
    elsewhere.delete(ACME, HELLO, WHEEL, NOBODY)
    publish(store, *make_sdist())
    assert set(names(store)) == {SDIST, make_wheel(tag="py2-none-any")[0]}


def test_a_deleted_version_does_not_come_back(registry: TestRegistry, store: PackageStore) -> None:
    """An answer from before its deletion is stale, too."""
    publish(store, *make_wheel())
    lagging = Lagging(registry, 1)
    store.delete(ACME, HELLO, "1.0", NOBODY)
    publish(store, *make_sdist())
    lagging.lag = 0
    assert names(registry.store()) == [SDIST]


class TestRecentWrites:
    """What is remembered of our own writes."""

    def test_an_unknown_tag_has_no_stale_answers(self) -> None:
        """An unknown answer isn't stale, either."""
        writes = RecentWrites(make_cache())
        assert not writes.is_stale(REPOSITORY, TAG, A)
        writes.record(REPOSITORY, TAG, None, A)
        assert not writes.is_stale(REPOSITORY, TAG, B)
        assert not writes.is_stale(REPOSITORY, Tag.parse("2.0"), None)

    def test_what_was_replaced_is_stale(self) -> None:
        """The absence of the tag, too. What is written again isn't stale any more."""
        writes = RecentWrites(make_cache())
        writes.record(REPOSITORY, TAG, None, A)
        writes.record(REPOSITORY, TAG, A, B)
        assert writes.is_stale(REPOSITORY, TAG, None)
        assert writes.is_stale(REPOSITORY, TAG, A)
        assert not writes.is_stale(REPOSITORY, TAG, B)
        assert writes.last(REPOSITORY, TAG) == B
        writes.record(REPOSITORY, TAG, B, A)
        assert not writes.is_stale(REPOSITORY, TAG, A)
        writes.record(REPOSITORY, TAG, A, None)
        assert writes.last(REPOSITORY, TAG) is None

    def test_what_we_have_not_written_is_foreign(self) -> None:
        """Neither what was written last nor what our writes replaced is. Other tags have nothing foreign."""
        writes = RecentWrites(make_cache())
        assert not writes.is_foreign(REPOSITORY, TAG, A)
        writes.record(REPOSITORY, TAG, None, A)
        assert [writes.is_foreign(REPOSITORY, TAG, digest) for digest in (None, A, B)] == [False, False, True]
        writes.record(REPOSITORY, TAG, A, None)
        assert [writes.is_foreign(REPOSITORY, TAG, digest) for digest in (None, A, B)] == [False, False, True]

    def test_they_are_forgotten_after_some_minutes(self) -> None:
        """By then somebody may have restored an earlier state on purpose."""
        now = [0.0]
        writes = RecentWrites(make_cache(), lambda: now[0])
        writes.record(REPOSITORY, TAG, A, B)
        now[0] = 299
        assert writes.is_stale(REPOSITORY, TAG, A)
        now[0] = 301
        assert not writes.is_stale(REPOSITORY, TAG, A)

    def test_they_are_bounded(self) -> None:
        """120 digests are remembered for each tag."""
        writes = RecentWrites(make_cache())
        digests = [Digest("sha256", f"{number:032x}" * 2) for number in range(1, 300)]
        for old, new in pairwise(digests):
            writes.record(REPOSITORY, TAG, old, new)
        known = [digest for digest in digests if writes.is_stale(REPOSITORY, TAG, digest)]
        assert known == digests[-121:-1]


class TestWriteLatency:
    """How long to wait before each read-back."""

    def test_the_longest_counts(self) -> None:
        """Among the updates at the same registry."""
        latency = WriteLatency(lambda: 0.0)
        for seconds in (0.2, 0.5, 0.1):
            latency.record("https://registry.example", seconds)
        assert latency.delays("https://registry.example") == (0.5, 0.5)
        assert latency.delays("https://other.example") == (0.0, 0.0)

    def test_only_recent_updates_count(self) -> None:
        """Neither a slow registry nor a writer elsewhere is assumed for ever."""
        now = [0.0]
        latency = WriteLatency(lambda: now[0])
        latency.record("https://registry.example", 2.0)
        latency.record_contention("https://registry.example")
        now[0] = 100.0
        latency.record("https://registry.example", 0.1)
        assert latency.delays("https://registry.example") == (2.0, 4.0)
        now[0] = 130.0
        assert latency.delays("https://registry.example") == (0.1, 0.1)

    def test_a_writer_elsewhere_may_be_slower(self) -> None:
        """If somebody writes who doesn't share the journal, the second read-back comes later."""
        latency = WriteLatency(lambda: 0.0)
        latency.record_contention("https://registry.example")
        assert latency.delays("https://registry.example") == (0.0, 1.0)
        latency.record("https://registry.example", 0.7)
        assert latency.delays("https://registry.example") == (0.7, 1.4)
        assert latency.delays("https://other.example") == (0.0, 0.0)

    def test_a_delay_is_four_seconds_at_most(self) -> None:
        """The uploader waits for both."""
        latency = WriteLatency(lambda: 0.0)
        latency.record("https://registry.example", 60.0)
        assert latency.delays("https://registry.example") == (4.0, 4.0)


def refuse_once(registry: TestRegistry, pattern: str, status: int, code: str) -> None:
    """Refuse requests that match until one PUT of the tag was refused."""
    registry.refuse = {pattern: (status, code)}
    begun = len(registry.calls)

    def relent(line: str) -> None:
        if len(
            [call for call in registry.calls[begun:-1] if call.startswith("PUT") and call.endswith("/1.0")]
        ):
            registry.refuse = {}

    registry.before = relent


@pytest.mark.parametrize(
    ("status", "code"), [(500, "UNKNOWN"), (503, "UNAVAILABLE"), (429, "TOOMANYREQUESTS")]
)
def test_a_tag_is_read_again_after_a_failed_write(
    registry: TestRegistry, store: PackageStore, status: int, code: str
) -> None:
    """Somebody elsewhere may have written in between: the same bytes again could undo that."""
    publish(store, *make_sdist())
    refuse_once(registry, r"PUT .*/manifests/1\.0", status, code)
    publish(store, *make_wheel())
    assert set(names(store)) == {WHEEL, SDIST}
    lines = [line for line in registry.calls if line.endswith("manifests/1.0")]
    first = max(
        index for index, line in enumerate(lines[:-1]) if line.startswith("PUT") and index < len(lines) - 2
    )
    assert any(line.startswith("GET") for line in lines[first:])


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "UNKNOWN", PyOCIError),
        (429, "TOOMANYREQUESTS", RateLimited),
        (400, "MANIFEST_INVALID", InvalidRequest),
    ],
)
def test_a_lasting_refusal_is_reported(
    registry: TestRegistry, store: PackageStore, status: int, code: str, kind: type[Exception]
) -> None:
    """With the registry's own words. Nothing of the upload is on the page."""
    publish(store, *make_sdist())
    registry.refuse = {r"PUT .*/manifests/1\.0": (status, code)}
    with pytest.raises(kind, match=code.lower()):
        publish(store, *make_wheel())
    assert names(store) == [SDIST]


def test_a_deleted_version_that_is_restored_elsewhere_is_deleted_again(
    registry: TestRegistry, store: PackageStore
) -> None:
    """The removal of the last file is read back like every other update."""
    publish_wheel(store)
    there = registry.document("1.0")
    back: list[bool] = []

    def put_back(line: str) -> None:
        gone = any(call.startswith("DELETE") for call in registry.calls[:-1])
        if gone and line.startswith("GET") and line.endswith("/1.0") and not back:
            back.append(True)
            registry.put("1.0", {**there, "annotations": {"org.example": "elsewhere"}})

    registry.before = put_back
    registry.refuse = {"DELETE .*/manifests/sha256": (405, "UNSUPPORTED")}
    store.delete(ACME, HELLO, WHEEL, NOBODY)
    registry.before = None
    assert back
    assert names(store) == []


def test_a_write_whose_answer_is_lost_may_have_been_taken(
    registry: TestRegistry, store: PackageStore
) -> None:
    """It is found when it is read back, and not made twice."""
    publish(store, *make_sdist())
    inner = registry._app
    lost: list[bool] = []

    def lose(environ: Any, start_response: Any) -> Iterable[bytes]:
        body = inner(environ, start_response)
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith("/1.0") and not lost:
            lost.append(True)
            b"".join(body)
            raise ConnectionResetError
        return body

    registry._app = lose  # type: ignore[assignment]
    publish(store, *make_wheel())
    assert lost
    assert set(names(store)) == {WHEEL, SDIST}
    assert len(registry.document("1.0")["manifests"]) == 2


def test_a_write_that_times_out_again_and_again_is_unreachable(
    registry: TestRegistry, store: PackageStore
) -> None:
    """Uploaders try again by themselves."""
    registry.refuse = {r"PUT .*/manifests/1\.0": (504, "UNKNOWN")}
    with pytest.raises(Unreachable):
        publish(store, *make_wheel())
