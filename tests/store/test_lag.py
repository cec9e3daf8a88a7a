"""Registries that answer with what was, refuse for a moment, or lose an answer: nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from pyoci.errors import InvalidRequest, PyOCIError, RateLimited, Unreachable
from pyoci.oci.references import Digest, Tag
from pyoci.store.service import PackageStore
from pyoci.store.writing.lag import RecentWrites
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, names, publish, publish_wheel

ACME = make_namespace()
REPOSITORY, TAG = make_repository(), Tag.parse("1.0")
WHEEL, SDIST = make_wheel()[0], make_sdist()[0]
A, B, C = (Digest("sha256", letter * 64) for letter in "abc")


class Lagging:
    """Answers a read by tag with what the tag was before the last `lag` writes to it."""

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
        seen: list[str] = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "x", "SERVER_PORT": "80"}
        environ |= {"wsgi.url_scheme": "http", "REMOTE_ADDR": "127.0.0.1"}
        body = b"".join(self._inner(environ, lambda status, headers, exc=None: seen.append(status)))
        return body if seen[0].startswith("200") else None


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
    """ghcr.io and Docker Hub (quirk 3): an answer that our own writes replaced is old, and passed over."""
    lagging = Lagging(registry, lag)
    uploads = [make_wheel(tag=f"cp3{minor}-none-any") for minor in range(6)]
    for filename, data in uploads:
        publish(store, filename, data)
    store.yank(ACME, HELLO, uploads[0][0], "broken", NOBODY)
    store.delete(ACME, HELLO, uploads[1][0], NOBODY)
    publish(store, *make_sdist())
    expected = {SDIST, *(filename for filename, _ in uploads)} - {uploads[1][0]}
    assert set(names(store)) == expected  # our own writes show, though the registry lags
    lagging.lag = 0
    assert set(names(registry.store())) == expected


def test_a_neighbours_newer_write_is_no_old_answer(registry: TestRegistry, store: PackageStore) -> None:
    """What we have not replaced ourselves is somebody's, and stays."""
    publish(store, *make_wheel())
    elsewhere = registry.store()
    publish(elsewhere, *make_wheel(tag="py2-none-any"))
    elsewhere.delete(ACME, HELLO, WHEEL, NOBODY)
    publish(store, *make_sdist())
    assert set(names(store)) == {SDIST, make_wheel(tag="py2-none-any")[0]}


def test_a_deleted_version_does_not_come_back(registry: TestRegistry, store: PackageStore) -> None:
    """An answer from before its deletion is old as well."""
    publish(store, *make_wheel())
    lagging = Lagging(registry, 1)
    store.delete(ACME, HELLO, "1.0", NOBODY)
    publish(store, *make_sdist())
    lagging.lag = 0
    assert names(registry.store()) == [SDIST]


class TestWrites:
    """What is remembered of our own writes."""

    def test_an_unknown_tag_has_no_old_answers(self) -> None:
        """Nor has an unknown answer."""
        writes = RecentWrites()
        assert not writes.is_stale(REPOSITORY, TAG, A)
        writes.record(REPOSITORY, TAG, None, A)
        assert not writes.is_stale(REPOSITORY, TAG, B)
        assert not writes.is_stale(REPOSITORY, Tag.parse("2.0"), None)

    def test_what_was_replaced_is_old(self) -> None:
        """The absence of the tag, too; what is written again isn't any more."""
        writes = RecentWrites()
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

    def test_what_we_know_nothing_of_is_anothers(self) -> None:
        """Neither what was written last nor what that replaced; others' tags aren't known."""
        writes = RecentWrites()
        assert not writes.is_foreign(REPOSITORY, TAG, A)
        writes.record(REPOSITORY, TAG, None, A)
        assert [writes.is_foreign(REPOSITORY, TAG, digest) for digest in (None, A, B)] == [False, False, True]
        writes.record(REPOSITORY, TAG, A, None)
        assert [writes.is_foreign(REPOSITORY, TAG, digest) for digest in (None, A, B)] == [False, False, True]

    def test_they_are_forgotten_after_some_minutes(self) -> None:
        """Somebody may by then have put an old state back on purpose."""
        now = [0.0]
        writes = RecentWrites(lambda: now[0])
        writes.record(REPOSITORY, TAG, A, B)
        now[0] = 299
        assert writes.is_stale(REPOSITORY, TAG, A)
        now[0] = 301
        assert not writes.is_stale(REPOSITORY, TAG, A)

    def test_they_are_bounded(self) -> None:
        """The latest hundred and twenty of a tag."""
        writes = RecentWrites()
        digests = [Digest("sha256", f"{number:032x}" * 2) for number in range(1, 300)]
        for old, new in pairwise(digests):
            writes.record(REPOSITORY, TAG, old, new)
        known = [digest for digest in digests if writes.is_stale(REPOSITORY, TAG, digest)]
        assert known == digests[-121:-1]


def refuse_once(registry: TestRegistry, pattern: str, status: int, code: str) -> None:
    """Refuse the first request that fits."""
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
def test_a_tag_that_could_not_be_written_is_looked_at_again(
    registry: TestRegistry, store: PackageStore, status: int, code: str
) -> None:
    """The same bytes a moment later might be an old state: a neighbour may have written in between."""
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
def test_what_is_refused_for_good_is_said(
    registry: TestRegistry, store: PackageStore, status: int, code: str, kind: type[Exception]
) -> None:
    """With the registry's own words, and nothing half-done is visible."""
    publish(store, *make_sdist())
    registry.refuse = {r"PUT .*/manifests/1\.0": (status, code)}
    with pytest.raises(kind, match=code.lower()):
        publish(store, *make_wheel())
    assert names(store) == [SDIST]


def test_a_neighbour_who_puts_a_deleted_version_back_is_noticed(
    registry: TestRegistry, store: PackageStore
) -> None:
    """Removing the last file is read back as every other change."""
    publish_wheel(store)
    there = registry.document("1.0")
    back: list[bool] = []

    def put_back(line: str) -> None:
        gone = any(call.startswith("DELETE") for call in registry.calls[:-1])
        if gone and line.startswith("GET") and line.endswith("/1.0") and not back:
            back.append(True)
            neighbour = {**there, "annotations": {"org.example": "neighbour"}}
            registry.put("1.0", neighbour)

    registry.before = put_back
    registry.refuse = {"DELETE .*/manifests/sha256": (405, "UNSUPPORTED")}
    store.delete(ACME, HELLO, WHEEL, NOBODY)
    registry.before = None
    assert back
    assert names(store) == []


def test_an_answer_that_never_came_may_have_been_a_yes(registry: TestRegistry, store: PackageStore) -> None:
    """The write was taken, the answer lost: it is found by looking, and not made twice."""
    publish(store, *make_sdist())
    inner, lost = registry._app, []

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


def test_others_are_told_of_a_fight_that_was_lost(registry: TestRegistry, store: PackageStore) -> None:
    """Unreachable, which uploaders try again by themselves."""
    registry.refuse = {r"PUT .*/manifests/1\.0": (504, "UNKNOWN")}
    with pytest.raises(Unreachable):
        publish(store, *make_wheel())
