"""How rarely upstream is asked, and which page is served while it can't be asked."""

from __future__ import annotations

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from pyoci.cache.backend import Backend
from pyoci.cache.files import FileBackend
from pyoci.errors import ClientLeft, Denied, NotFound, ProtocolError, Unreachable
from pyoci.events import Events
from pyoci.simple_api.model import ProjectStatus
from pyoci.simple_api.verbatim import VerbatimFiles, packed
from pyoci.upstream.circuit import Circuit, ConcurrencyLimit
from pyoci.upstream.copies import KeptFiles
from pyoci.upstream.page_cache import CachedAnswer, PageCache
from tests.clock import Clock
from tests.registry import TestRegistry
from tests.store.shelf import names, publish_wheel
from tests.upstream.conftest import MakeUpstream
from tests.upstream.test_copies import Copies
from tests.upstream_pages import make_upstream_file, make_upstream_page
from tests.upstreams import JSON, PackageIndex, json_page

FAILURES = [
    pytest.param({"status": 500}, id="500"),
    pytest.param({"status": 503, "headers": {"Retry-After": "3600"}}, id="503"),
    pytest.param({"status": 429, "headers": {"Retry-After": "3600"}}, id="429"),
]


def failing(**answer: Any) -> Any:
    """Answers every request with this failure."""
    return lambda request: Response("", **answer)


class TestFreshness:
    def test_a_page_is_asked_for_once(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """It is fresh for as long as upstream says, in all workers that share the cache."""
        first, second = make_upstream(), make_upstream()
        found = first.page("hello-world")
        clock.now += 599
        assert first.page("hello-world") == second.page("hello-world") == found
        assert elsewhere.calls == ["GET /simple/hello-world/ 200"]

    def test_until_when_it_may_be_served_again(self, make_upstream: MakeUpstream, clock: Clock) -> None:
        """`until` is a time on the clock of the worker."""
        asked = clock()
        first = make_upstream().page("hello-world")
        clock.now += 200
        second = make_upstream(clock=lambda: clock() - 1000).page("hello-world")
        assert first.until == asked + 600
        assert second.until == asked + 600 - 1000

    def test_then_upstream_is_asked_whether_it_has_changed(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """A 304 makes the page fresh again in all workers; a change is seen."""
        first, second = make_upstream(), make_upstream()
        found = first.page("hello-world")
        clock.now += 601
        assert second.page("hello-world") == found
        clock.now += 599
        assert first.page("hello-world") == found
        assert [call[-3:] for call in elsewhere.calls] == ["200", "304"]
        elsewhere.add_wheel("hello-world", "2.0")
        clock.now += 2
        changed = first.page("hello-world")
        assert changed.versions == ("1.0", "2.0")
        assert changed.fingerprint != found.fingerprint

    def test_copies_hear_of_a_quarantine_each_time(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """Also after a 304: the store may have refused before, or have had no copies yet."""
        elsewhere.keys["project-status"] = {"status": "quarantined", "reason": "malware"}
        copies = Copies()
        upstream = make_upstream(kept=KeptFiles(copies))
        for _ in range(2):
            assert upstream.page("hello-world").status == ProjectStatus("quarantined", "malware")
            clock.now += 601
        assert [call[-3:] for call in elsewhere.calls] == ["200", "304"]
        assert copies.offered == ["hello-world: malware"] * 2

    def test_a_date_is_enough_without_an_etag(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """If-Modified-Since repeats Last-Modified."""
        elsewhere.etag = False
        dated = {"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
        elsewhere.answer = lambda request: Response(
            '{"files": []}', headers=dated, content_type="application/vnd.pypi.simple.v1+json"
        )
        upstream = make_upstream()
        upstream.page("hello-world")
        clock.now += 601
        upstream.page("hello-world")
        assert elsewhere.requests[-1].headers["If-Modified-Since"] == dated["Last-Modified"]

    def test_fresh_asks_upstream_again(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """At most every few seconds for all callers."""
        upstream = make_upstream()
        upstream.page("hello-world")
        elsewhere.add_wheel("hello-world", "2.0")
        assert upstream.page("hello-world", fresh=True).versions == ("1.0",)
        clock.now += 6
        assert upstream.page("hello-world").versions == ("1.0",)
        assert upstream.page("hello-world", fresh=True).versions == ("1.0", "2.0")
        assert upstream.page("hello-world", fresh=True).versions == ("1.0", "2.0")
        assert elsewhere.asked("hello-world") == 2

    def test_an_absent_project_is_asked_for_once_a_minute(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """In each process, because invented names must not fill the shared cache. A minute later it may
        exist.
        """
        first, second = make_upstream(), make_upstream()
        for upstream in (first, first, second):
            with pytest.raises(NotFound):
                upstream.page("new")
        assert elsewhere.asked("new") == 2
        elsewhere.add_wheel("new")
        clock.now += 61
        assert first.page("new").versions == ("1.0",)

    def test_a_project_that_disappears(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """Its page is removed, so it isn't served as a stale one, either."""
        upstream = make_upstream()
        upstream.page("hello-world")
        del elsewhere.projects["hello-world"]
        clock.now += 601
        with pytest.raises(NotFound):
            upstream.page("hello-world")
        elsewhere.answer = failing(status=500)
        clock.now += 61
        with pytest.raises(Unreachable):
            upstream.page("hello-world")

    @pytest.mark.parametrize("status", [404, 403])
    @pytest.mark.parametrize("had_a_page", [True, False])
    def test_copies_of_what_upstream_has_removed_are_not_served(
        self,
        elsewhere: PackageIndex,
        make_upstream: MakeUpstream,
        clock: Clock,
        status: int,
        had_a_page: bool,
    ) -> None:
        """Neither by other workers, nor however long it is down: the last that it said counts. When it offers
        the project again, that counts.
        """
        stored = make_upstream_page("hello-world", make_upstream_file("hello_world-1.0.zip"))
        kept = KeptFiles(Copies(pages={"hello-world": stored}))
        upstream = make_upstream(kept=kept)
        if had_a_page:
            upstream.page("hello-world")
        for _ in range(2):
            elsewhere.answer = failing(status=status)
            clock.now += 601
            with pytest.raises(NotFound if status == 404 else Denied):
                upstream.page("hello-world")
            elsewhere.answer = failing(status=500)
            for age in (61, 31_536_000):
                clock.now += age
                for each in (upstream, make_upstream(kept=kept)):
                    with pytest.raises(Unreachable):
                        each.page("hello-world")
        elsewhere.answer = None
        clock.now += 61
        assert upstream.page("hello-world").versions == ("1.0",)
        elsewhere.answer = failing(status=500)
        clock.now += 601
        assert make_upstream(kept=kept).page("hello-world").stale is not None

    def test_what_upstream_never_had_is_not_kept(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock, backend: Backend
    ) -> None:
        """Also if the copies can't be asked: invented names must not fill the shared cache."""
        for copies in (Copies(), Copies(failure=Unreachable("down"))):
            upstream = make_upstream(kept=KeptFiles(copies))
            with pytest.raises(NotFound):
                upstream.page("invented")
            assert backend.get(PageCache(backend, upstream.address.key).key_of("invented")) is None

    def test_each_address_and_credentials_have_pages_of_their_own(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream
    ) -> None:
        """Another caller of upstream may see another page."""
        make_upstream().page("hello-world")
        make_upstream(authorization="me:secret").page("hello-world")
        make_upstream(f"{elsewhere.url}/simple/").page("hello-world")
        assert elsewhere.asked("hello-world") == 2

    def test_a_page_too_large_for_the_process(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream
    ) -> None:
        """A page of 20,000 files is taken from the shared cache each time."""
        (file,) = elsewhere.projects["hello-world"]
        elsewhere.projects["hello-world"] *= 20_000
        upstream = make_upstream()
        first, second = upstream.page("hello-world"), upstream.page("hello-world")
        assert [file.filename for file in first.files] == [file["filename"]] * 20_000
        assert first == second
        assert first.files is not second.files
        assert elsewhere.asked("hello-world") == 1


class TestDown:
    @pytest.mark.parametrize("answer", FAILURES)
    def test_a_stale_page_is_served_however_old_it_is(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock, answer: dict[str, Any]
    ) -> None:
        """Also by workers that never had it. It is marked as stale, and fresh only for seconds."""
        found, found_at = make_upstream().page("hello-world"), clock.now
        elsewhere.answer = failing(**answer)
        for age in (86_300, 86_301, 31_536_000):
            clock.now = found_at + age
            stale = make_upstream().page("hello-world")
            assert (stale, stale.stale, found.stale) == (found, age, None)
            assert stale.until == clock() + 10

    def test_upstream_is_not_asked_for_some_seconds(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """Then it is asked again, and its answer counts."""
        upstream = make_upstream()
        upstream.page("hello-world")
        elsewhere.answer = failing(status=500)
        clock.now += 601
        upstream.page("hello-world")
        asked = len(elsewhere.calls)
        clock.now += 9
        assert upstream.page("hello-world").stale == 610
        assert len(elsewhere.calls) == asked
        elsewhere.answer = None
        clock.now += 2
        assert upstream.page("hello-world").stale is None

    @pytest.mark.parametrize("answer", FAILURES)
    def test_without_a_known_page_there_is_an_error(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, answer: dict[str, Any]
    ) -> None:
        """And an event for the log."""
        heard: list[tuple[str, dict[str, object]]] = []
        events = Events(lambda event, **facts: heard.append((event, facts)))
        elsewhere.answer = failing(**answer)
        with pytest.raises(Unreachable, match="the upstream package index can't answer now"):
            make_upstream(events=events).page("hello-world")
        assert [facts["room"] for _, facts in heard] == ["upstream"]

    def test_a_slow_upstream_times_out(self, elsewhere: PackageIndex, make_upstream: MakeUpstream) -> None:
        """One that never answers."""
        elsewhere.hang()
        with pytest.raises(Unreachable, match="the upstream package index did not answer in time"):
            make_upstream(document_seconds=0.3).page("hello-world")

    def test_a_refusal_is_an_answer(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """A withheld page isn't served as a stale one, then or later. A broken answer is an error."""
        upstream = make_upstream()
        upstream.page("hello-world")
        clock.now += 601
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
        """After five failures upstream isn't asked for half a minute; then one request decides."""
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
        clock.now += 31
        for _ in range(3):
            with pytest.raises(Unreachable):
                upstream.page("hello-world")
        assert {call.split()[1] for call in elsewhere.calls[asked:]} == {"/simple/hello-world/"}
        elsewhere.answer = None
        clock.now += 31
        assert upstream.page("hello-world").versions == ("1.0",)
        with pytest.raises(NotFound):
            upstream.page("project-1")

    def test_retry_after_opens_the_circuit(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, clock: Clock
    ) -> None:
        """429 with Retry-After, for all projects; five minutes at most."""
        upstream = make_upstream()
        elsewhere.answer = failing(status=429, headers={"Retry-After": "100"})
        with pytest.raises(Unreachable):
            upstream.page("hello-world")
        elsewhere.answer = None
        clock.now += 99
        with pytest.raises(Unreachable):
            upstream.page("hello-world")
        clock.now += 2
        assert upstream.page("hello-world").versions == ("1.0",)


class TestCircuit:
    def test_one_caller_tries_at_a_time(self, clock: Clock) -> None:
        """The others fail at once. A caller that gives up without an answer lets the next one try."""
        circuit = Circuit(1, 30, clock)
        with pytest.raises(Unreachable), circuit.call():
            raise Unreachable("down")
        clock.now += 31
        assert not circuit.is_open
        with pytest.raises(KeyboardInterrupt):
            self.tries(circuit)
        assert not circuit.is_open
        with circuit.call():
            pass
        with circuit.call(), circuit.call():
            assert not circuit.is_open

    def tries(self, circuit: Circuit) -> None:
        """Tries, sees another caller refused, and gives up."""
        with circuit.call():
            assert circuit.is_open
            with pytest.raises(Unreachable, match="failed several times"), circuit.call():
                pytest.fail("two tried")
            raise KeyboardInterrupt

    def test_any_answer_is_a_success(self, clock: Clock) -> None:
        """Only failures in a row count, and a broken answer is an answer."""
        circuit = Circuit(2, 30, clock)
        for failure in (Unreachable("down"), ProtocolError("nonsense"), Unreachable("down")):
            with pytest.raises(type(failure)), circuit.call():
                raise failure
        assert not circuit.is_open

    def test_a_request_that_was_ended_is_neither(self, clock: Clock) -> None:
        """It neither opens the circuit nor hides the failures before it."""
        circuit = Circuit(2, 30, clock)
        for failure in (Unreachable("down"), *[ClientLeft("left")] * 3):
            with pytest.raises(type(failure)), circuit.call():
                raise failure
        assert not circuit.is_open
        with pytest.raises(Unreachable), circuit.call():
            raise Unreachable("down")
        assert circuit.is_open


class TestConcurrency:
    def test_simultaneous_requests_are_one(
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

    def test_projects_don_t_wait_for_each_other(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream
    ) -> None:
        """A slow answer about one project doesn't delay another."""
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

    def test_one_slow_page_refuses_nobody(self) -> None:
        """Others take turns in the remaining slot, however long the slow one takes."""
        clock, ended = Clock(), threading.Event()
        limit = ConcurrencyLimit(2, patience=60.0, clock=clock)
        begun = threading.Semaphore(0)

        def occupy() -> None:
            with limit.slot():
                begun.release()
                ended.wait(30)

        def pass_through() -> str:
            with limit.slot():
                return "served"

        with limit.slot(), ThreadPoolExecutor(5) as threads:
            clock.now += 3600
            occupied = threads.submit(occupy)
            assert begun.acquire(timeout=20)
            waiting = [threads.submit(pass_through) for _ in range(4)]
            ended.set()
            assert [each.result(20) for each in waiting] == ["served"] * 4
            occupied.result(20)

    def test_private_projects_are_untouched(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, tmp_path: Path
    ) -> None:
        """A hundred requests for an upstream that hangs: the server's threads still serve the registry's
        projects, while eight requests wait and the rest fail with one sentence.
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


class TestSharedCache:
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
    def test_damaged_entries_are_ignored(
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

    def test_no_secret_is_in_the_cache(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, tmp_path: Path, clock: Clock
    ) -> None:
        """Nor in an event, an error or a repr."""
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
        clock.now += 86_401
        assert upstream.page("hello-world").stale
        with pytest.raises(Unreachable) as failure:
            upstream.page("flask")
        written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert written
        for text in (*map(repr, (found, upstream.address, heard, failure.value)), *map(repr, written)):
            assert "planted" not in text
            assert "bWU6" not in text

    def test_an_entry_from_the_future_is_not_fresh(self, make_upstream: MakeUpstream, clock: Clock) -> None:
        """A host whose clock is wrong makes no page fresh for ever."""
        known = CachedAnswer(
            make_upstream().page("hello-world"), clock() + 1000, clock() + 1600, "etag", "date"
        )
        assert not known.is_fresh(clock())
        again = CachedAnswer.newer(known.to_bytes(), None, "hello-world")
        assert again == known
        assert CachedAnswer.newer(known.to_bytes(), known, "hello-world") is None


class TestVerbatim:
    """Pages without mistakes are passed on as they were sent."""

    @pytest.fixture
    def body(self, elsewhere: PackageIndex) -> bytes:
        """The page of a project whose files have absolute URLs, as PyPI's have."""
        for version in ("1.0", "2.0"):
            filename = f"flask-{version}-py3-none-any.whl"
            elsewhere.add(filename, version.encode(), url=f"{elsewhere.url}/files/{filename}")
        return json_page("flask", elsewhere.projects["flask"]).encode()

    @pytest.mark.parametrize("zipped", [True, False])
    def test_they_are_kept_as_they_were_sent(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, body: bytes, zipped: bool
    ) -> None:
        """In all workers that share the cache, and in upstream's own gzip."""
        elsewhere.zipped = zipped
        pages = [make_upstream().page("flask") for _ in range(2)]
        for page in pages:
            assert isinstance(page.files, VerbatimFiles)
            assert page.files.body() == body
            assert (page.files.packed == gzip.compress(body, mtime=0)) == zipped
            assert [file.filename for file in page.files] == [
                file["filename"] for file in json.loads(body)["files"]
            ]
        assert pages[0] == pages[1]
        assert elsewhere.asked("flask") == 1

    @pytest.mark.parametrize("rest", [gzip.compress(b"more"), b"more"], ids=["member", "nonsense"])
    def test_what_follows_in_gzip_is_left_out(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, body: bytes, rest: bytes
    ) -> None:
        """Clients get what was checked."""
        headers = {"Content-Encoding": "gzip"}
        elsewhere.answer = lambda _: Response(gzip.compress(body) + rest, 200, headers, content_type=JSON)
        page = make_upstream().page("flask")
        assert isinstance(page.files, VerbatimFiles)
        assert page.files.packed == packed(body)

    def test_a_change_in_the_cache_is_noticed(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, body: bytes, backend: Backend
    ) -> None:
        """Upstream is asked again."""
        first = make_upstream()
        found = first.page("flask")
        key = f"upstream\0{first.address.key}\0flask"
        kept = backend.get(key)
        assert kept is not None
        backend.put(key, kept[:-9] + b"x" + kept[-8:])
        assert make_upstream().page("flask") == found
        assert elsewhere.asked("flask") == 2

    def test_a_page_that_changes(
        self, elsewhere: PackageIndex, make_upstream: MakeUpstream, body: bytes, clock: Clock
    ) -> None:
        """The new one counts, and one with a mistake is written anew."""
        upstream = make_upstream()
        upstream.page("flask")
        elsewhere.add("flask-3.0-py3-none-any.whl", b"3.0", size=-1)
        clock.now += 601
        page = upstream.page("flask")
        assert not isinstance(page.files, VerbatimFiles)
        assert [file.size for file in page.files] == [3, 3, None]
