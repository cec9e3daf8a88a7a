"""How seldom another package index is asked, and what is given when it can't be."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from pyoci.cache.backend import Backend
from pyoci.cache.files import FileBackend
from pyoci.errors import Denied, NotFound, ProtocolError, Unreachable
from pyoci.events import Events
from pyoci.upstream.circuit import Circuit
from pyoci.upstream.page_cache import CachedAnswer
from tests.registry import TestRegistry
from tests.store.shelf import names, publish_wheel
from tests.upstream.conftest import Clock, MakeUpstream
from tests.upstreams import PackageIndex

FAILURES = [
    pytest.param({"status": 500}, id="500"),
    pytest.param({"status": 503, "headers": {"Retry-After": "3600"}}, id="503"),
    pytest.param({"status": 429, "headers": {"Retry-After": "3600"}}, id="429"),
]


def failing(**answer: Any) -> Any:
    """Answers everybody alike."""
    return lambda request: Response("", **answer)


class TestFreshness:
    def test_a_page_is_asked_for_once(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """And counts as long as upstream says: in all workers that share the cache."""
        first, second = make_upstream(), make_upstream()
        found = first.page("hello-world")
        clock.go(599)
        assert first.page("hello-world") == second.page("hello-world") == found
        assert elsewhere.calls == ["GET /simple/hello-world/ 200"]

    def test_until_when_it_may_be_given_again(self, make_upstream: MakeUpstream, clock: Clock) -> None:
        """On the clock of who asked, in each worker."""
        asked = clock()
        first = make_upstream().page("hello-world")
        clock.go(200)
        second = make_upstream(clock=lambda: clock() - 1000).page("hello-world")
        assert first.until == asked + 600
        assert second.until == asked + 600 - 1000

    def test_then_upstream_is_asked_whether_it_has_changed(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """A 304 makes the page count again, for all; a change shows."""
        first, second = make_upstream(), make_upstream()
        found = first.page("hello-world")
        clock.go(601)
        assert second.page("hello-world") == found
        clock.go(599)
        assert first.page("hello-world") == found
        assert [call[-3:] for call in elsewhere.calls] == ["200", "304"]
        elsewhere.add_wheel("hello-world", "2.0")
        clock.go(2)
        changed = first.page("hello-world")
        assert changed.versions == ("1.0", "2.0")
        assert changed.fingerprint != found.fingerprint

    def test_a_date_does_where_there_is_no_etag(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """If-Modified-Since with what Last-Modified said."""
        elsewhere.etag = False
        dated = {"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
        elsewhere.answer = lambda request: Response(
            '{"files": []}', headers=dated, content_type="application/vnd.pypi.simple.v1+json"
        )
        upstream = make_upstream()
        upstream.page("hello-world")
        clock.go(601)
        upstream.page("hello-world")
        assert elsewhere.requests[-1].headers["If-Modified-Since"] == dated["Last-Modified"]

    def test_who_insists_gets_what_upstream_has_now(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """But no more than every few seconds, whoever asks."""
        upstream = make_upstream()
        upstream.page("hello-world")
        elsewhere.add_wheel("hello-world", "2.0")
        assert upstream.page("hello-world", fresh=True).versions == ("1.0",)
        clock.go(6)
        assert upstream.page("hello-world").versions == ("1.0",)
        assert upstream.page("hello-world", fresh=True).versions == ("1.0", "2.0")
        assert upstream.page("hello-world", fresh=True).versions == ("1.0", "2.0")
        assert elsewhere.asked("hello-world") == 2

    def test_an_absent_project_is_asked_for_once_a_minute(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """By each process: nobody's made up names fill the cache that all share. Then it may have come."""
        first, second = make_upstream(), make_upstream()
        for upstream in (first, first, second):
            with pytest.raises(NotFound):
                upstream.page("new")
        assert elsewhere.asked("new") == 2
        elsewhere.add_wheel("new")
        clock.go(61)
        assert first.page("new").versions == ("1.0",)

    def test_a_project_may_go(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """What was remembered of it goes too, also where upstream is down later."""
        upstream = make_upstream()
        upstream.page("hello-world")
        del elsewhere.projects["hello-world"]
        clock.go(601)
        with pytest.raises(NotFound):
            upstream.page("hello-world")
        elsewhere.answer = failing(status=500)
        clock.go(61)
        with pytest.raises(Unreachable):
            upstream.page("hello-world")

    def test_addresses_and_credentials_have_memories_of_their_own(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream
    ) -> None:
        """Another one may be shown another page."""
        make_upstream().page("hello-world")
        make_upstream(authorization="me:secret").page("hello-world")
        make_upstream(f"{elsewhere.url}/simple/").page("hello-world")
        assert elsewhere.asked("hello-world") == 2

    def test_a_page_larger_than_the_memory(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is taken from the cache each time."""
        monkeypatch.setattr("pyoci.upstream.page_cache._LOCAL", 100)
        upstream = make_upstream()
        assert upstream.page("hello-world") == upstream.page("hello-world")
        assert elsewhere.asked("hello-world") == 1


class TestDown:
    @pytest.mark.parametrize("answer", FAILURES)
    def test_what_is_remembered_is_given_for_a_day(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock, answer: dict[str, Any]
    ) -> None:
        """By workers that never saw it, too; it says that it is stale, and counts for seconds only."""
        found = make_upstream().page("hello-world")
        elsewhere.answer = failing(**answer)
        clock.go(86_300)
        stale = make_upstream().page("hello-world")
        assert (stale, stale.stale, found.stale) == (found, True, False)
        assert stale.until == clock() + 10
        clock.go(101)
        with pytest.raises(Unreachable, match="the upstream package index"):
            make_upstream().page("hello-world")

    def test_nobody_is_asked_for_some_seconds(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """Then again, and what upstream says counts."""
        upstream = make_upstream()
        upstream.page("hello-world")
        elsewhere.answer = failing(status=500)
        clock.go(601)
        upstream.page("hello-world")
        asked = len(elsewhere.calls)
        clock.go(9)
        assert upstream.page("hello-world").stale
        assert len(elsewhere.calls) == asked
        elsewhere.answer = None
        clock.go(2)
        assert not upstream.page("hello-world").stale

    @pytest.mark.parametrize("answer", FAILURES)
    def test_without_memory_there_is_a_sentence(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, answer: dict[str, Any]
    ) -> None:
        """And a listener hears of it."""
        heard: list[tuple[str, dict[str, object]]] = []
        events = Events(lambda event, **facts: heard.append((event, facts)))
        elsewhere.answer = failing(**answer)
        with pytest.raises(Unreachable, match="the upstream package index can't answer now"):
            make_upstream(events=events).page("hello-world")
        assert [facts["room"] for _, facts in heard] == ["upstream"]

    def test_a_slow_one_is_left_after_its_time(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream
    ) -> None:
        """One that says nothing at all."""
        elsewhere.hang()
        with pytest.raises(Unreachable, match="the upstream package index did not answer in time"):
            make_upstream(document_seconds=0.3).page("hello-world")

    def test_a_refusal_is_no_failure(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """What upstream withholds is not given from memory, then or later; nor instead of nonsense."""
        upstream = make_upstream()
        upstream.page("hello-world")
        clock.go(601)
        elsewhere.answer = lambda request: Response("{}", content_type="text/plain")
        with pytest.raises(ProtocolError):
            upstream.page("hello-world")
        elsewhere.answer = failing(status=403)
        with pytest.raises(Denied):
            upstream.page("hello-world")
        elsewhere.answer = failing(status=500)
        with pytest.raises(Unreachable):
            upstream.page("hello-world")

    def test_the_circuit_opens(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """After five failures nobody is asked for half a minute; then one is, and its answer decides."""
        upstream = make_upstream()
        elsewhere.answer = failing(status=404)
        with pytest.raises(NotFound):
            upstream.page("absent")
        elsewhere.answer = failing(status=500)
        for number in range(10):
            with pytest.raises(Unreachable):
                upstream.page(f"project-{number}")
        assert len({call for call in elsewhere.calls if call.endswith(" 500")}) == 5
        asked = len(elsewhere.calls)
        clock.go(31)
        for _ in range(3):
            with pytest.raises(Unreachable):
                upstream.page("hello-world")
        assert {call.split()[1] for call in elsewhere.calls[asked:]} == {"/simple/hello-world/"}
        elsewhere.answer = None
        clock.go(31)
        assert upstream.page("hello-world").versions == ("1.0",)
        with pytest.raises(NotFound):
            upstream.page("project-1")

    def test_upstream_says_how_long_it_wants_to_be_left_alone(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """429 with Retry-After, for all projects; five minutes at most."""
        upstream = make_upstream()
        elsewhere.answer = failing(status=429, headers={"Retry-After": "100"})
        with pytest.raises(Unreachable):
            upstream.page("hello-world")
        elsewhere.answer = None
        clock.go(99)
        with pytest.raises(Unreachable):
            upstream.page("hello-world")
        clock.go(2)
        assert upstream.page("hello-world").versions == ("1.0",)


class TestCircuit:
    def test_one_tries_at_a_time(self, clock: Clock) -> None:
        """The others are told at once; who gives up without an answer leaves the next one to try."""
        circuit = Circuit(1, 30, clock)
        with pytest.raises(Unreachable), circuit.call():
            raise Unreachable("down")
        clock.go(31)
        assert not circuit.is_open
        with pytest.raises(KeyboardInterrupt):
            self.tries(circuit)
        assert not circuit.is_open
        with circuit.call():
            pass
        with circuit.call(), circuit.call():
            assert not circuit.is_open

    def tries(self, circuit: Circuit) -> None:
        """Tries, sees the others turned away, and gives up."""
        with circuit.call():
            assert circuit.is_open
            with pytest.raises(Unreachable, match="failed several times"), circuit.call():
                pytest.fail("two tried")
            raise KeyboardInterrupt

    def test_any_answer_is_one(self, clock: Clock) -> None:
        """Failures count where they follow each other; what was said with nonsense was said."""
        circuit = Circuit(2, 30, clock)
        for failure in (Unreachable("down"), ProtocolError("nonsense"), Unreachable("down")):
            with pytest.raises(type(failure)), circuit.call():
                raise failure
        assert not circuit.is_open


class TestTogether:
    def test_many_who_ask_are_one(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, tmp_path: Path
    ) -> None:
        """In one worker, and among workers that share a cache."""
        backend = FileBackend(tmp_path)
        workers = [make_upstream(backend=backend, document_seconds=60), make_upstream(backend=backend)]
        elsewhere.hang()
        with ThreadPoolExecutor(20) as threads:
            asked = [threads.submit(workers[n % 2].page, "hello-world") for n in range(20)]
            assert elsewhere.waiting.acquire(timeout=20)
            elsewhere.go_on()
            assert {page.result(20).fingerprint for page in asked} == {
                make_upstream().page("hello-world").fingerprint
            }
        assert elsewhere.asked("hello-world") == 2  # one for these, and one for the last, of another cache

    def test_names_don_t_wait_for_each_other(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream
    ) -> None:
        """What upstream is slow with keeps nobody from the rest."""
        slow = threading.Event()

        def answer(request: Request) -> None:
            if "slow" in request.path:
                slow.wait(20)

        elsewhere.answer = answer
        upstream = make_upstream(document_seconds=60)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(upstream.page, "slow")
            assert upstream.page("hello-world").versions == ("1.0",)
            slow.set()
            assert isinstance(waiting.exception(20), NotFound)

    def test_private_projects_are_untouched(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, tmp_path: Path
    ) -> None:
        """A hundred requests for an upstream that hangs: a server's threads still serve what is in the
        registry, while those who got a place go on waiting, and the rest have their sentence.
        """
        store = TestRegistry(tmp_path).store()
        publish_wheel(store)
        upstream = make_upstream(waiting=8, document_seconds=120)
        elsewhere.hang()
        with ThreadPoolExecutor(16) as threads:
            asked = [threads.submit(upstream.page, f"project-{number % 50}") for number in range(100)]
            for _ in range(4):
                assert elsewhere.waiting.acquire(timeout=20)
            private = threads.submit(names, store)
            assert private.result(60) == ["hello_world-1.0-py3-none-any.whl"]
            done = list(islice(as_completed(asked, 60), 92))
            waiting = [page for page in asked if page not in done]
            assert not any(page.done() for page in waiting)
            refused = {str(page.exception()) for page in done}
            assert len(refused) == 1
            assert "too many requests wait for the upstream package index" in refused.pop()
            elsewhere.go_on()
            assert all(isinstance(page.exception(60), NotFound) for page in waiting)


class TestWhatLiesInTheCache:
    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda kept: b"", id="nothing"),
            pytest.param(lambda kept: b"\n", id="no head"),
            pytest.param(lambda kept: kept[:-10], id="half"),
            pytest.param(lambda kept: b"[]\n" + kept.partition(b"\n")[2], id="another head"),
            pytest.param(lambda kept: kept.replace(b'"checked": ', b'"checked": "x", "y": '), id="no time"),
            pytest.param(lambda kept: kept.partition(b"\n")[0] + b"\nrubbish", id="no page"),
        ],
    )
    def test_rubbish_is_nothing(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, backend: Backend, damage: Any
    ) -> None:
        """Upstream is asked again."""
        first = make_upstream()
        first.page("hello-world")
        key = f"upstream\0{first.address.key}\0hello-world"
        kept = backend.get(key)
        assert kept is not None
        backend.put(key, damage(kept))
        assert make_upstream().page("hello-world").versions == ("1.0",)
        assert elsewhere.asked("hello-world") == 2

    def test_no_secret_lies_there(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, tmp_path: Path, clock: Clock
    ) -> None:
        """Nor is one told to who listens, or in an error."""
        elsewhere.authorization = "Basic bWU6cGxhbnRlZC1zZWNyZXQ="
        heard: list[object] = []
        events = Events(lambda event, **facts: heard.append((event, facts)))
        upstream = make_upstream(
            elsewhere.simple.replace("://", "://me:planted-secret@"),
            backend=FileBackend(tmp_path),
            events=events,
        )
        found = upstream.page("hello-world")
        elsewhere.answer = failing(status=500)
        clock.go(86_401)
        with pytest.raises(Unreachable) as failure:
            upstream.page("hello-world")
        written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert written
        for text in (*map(repr, (found, upstream.address, heard, failure.value)), *map(repr, written)):
            assert "planted" not in text
            assert "bWU6" not in text

    def test_what_comes_from_the_future(self, make_upstream: MakeUpstream, clock: Clock) -> None:
        """A host whose clock is wrong makes no page last for ever."""
        known = CachedAnswer(
            make_upstream().page("hello-world"), clock() + 1000, clock() + 1600, "etag", "date"
        )
        assert not known.is_fresh(clock())
        again = CachedAnswer.newer(known.to_bytes(), None, "hello-world")
        assert again == known
        assert CachedAnswer.newer(known.to_bytes(), known, "hello-world") is None
