"""How rarely the vulnerability service is asked, and which answers are given while it can't be asked."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from pyoci.cache.backend import Backend
from pyoci.errors import InvalidRequest, NotFound, ProtocolError, Unavailable, Unreachable
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.upstream.circuit import Circuit
from pyoci.upstream.osv import FRESH_TTL, NAME, OSV, STALE_TTL, Query, Replies
from tests.clock import Clock
from tests.osv_service import MODIFIED, VulnerabilityService, vulnerability_service

BUG = "PYSEC-2021-66"
FLASK, DJANGO = Query("flask", "1.0"), Query("django")
MakeOSV = Callable[..., OSV]


@pytest.fixture
def service() -> Iterator[VulnerabilityService]:
    with vulnerability_service() as service:
        service.add("flask", BUG)
        yield service


@pytest.fixture
def make_osv(service: VulnerabilityService, backend: Backend, clock: Clock) -> Iterator[MakeOSV]:
    """Makes OSV objects that share a cache."""
    made: list[Transport] = []

    def make(**settings: Any) -> OSV:
        made.append(Transport(sleep=lambda _: None, jitter=lambda: 0.5))
        usual = {"clock": clock, "now": clock, "circuit": Circuit(clock=clock, name=NAME)}
        url = settings.pop("url", service.url)
        return OSV(url, made[-1], settings.pop("backend", backend), **{**usual, **settings})

    yield make
    for transport in made:
        transport.close()


def parsed(replies: Replies) -> list[Any]:
    return [json.loads(body) for body in replies.bodies]


FOUND = {"vulns": [{"id": BUG, "modified": MODIFIED}]}


class TestMemory:
    def test_only_what_is_unknown_is_asked(
        self, make_osv: MakeOSV, service: VulnerabilityService, clock: Clock
    ) -> None:
        """Answers are shared among workers, and are fresh for ten minutes."""
        first, second = make_osv(), make_osv()
        assert parsed(first.batch([FLASK])) == [FOUND]
        assert parsed(second.batch([DJANGO, FLASK])) == [{}, FOUND]
        assert service.names() == ["flask", "django"]
        clock.now += FRESH_TTL - 1
        assert first.batch([FLASK, DJANGO]).age is None
        assert len(service.calls) == 2
        clock.now += 2
        service.add("django", "PYSEC-2026-1")
        assert parsed(first.batch([FLASK, DJANGO]))[1]["vulns"][0]["id"] == "PYSEC-2026-1"

    def test_kinds_and_versions_are_told_apart(
        self, make_osv: MakeOSV, service: VulnerabilityService
    ) -> None:
        """Neither a full answer nor one about another version or page is given instead."""
        osv = make_osv()
        for query in (FLASK, Query("flask"), Query("flask", "1.0", "t"), Query("flask", "2.0")):
            assert parsed(osv.batch([query])) == [FOUND]
            assert parsed(osv.query(query)) == [{"vulns": service.known["flask"]}]
        assert len(service.calls) == 8

    def test_a_vulnerability(self, make_osv: MakeOSV, service: VulnerabilityService) -> None:
        """It is remembered; that there is none isn't."""
        osv = make_osv()
        for _ in range(2):
            assert parsed(osv.vulnerability(BUG)) == service.known["flask"]
            with pytest.raises(NotFound):
                osv.vulnerability("CVE-1-1")
        assert [call[-3:] for call in service.calls] == ["200", "404", "404"]

    @pytest.mark.parametrize(
        "wrong", ["", "flask", "acme-tool", "GHSA", "GHSA-", "GHSA-a/b", "A-" + "b" * 99]
    )
    def test_an_identifier_is_checked(
        self, make_osv: MakeOSV, service: VulnerabilityService, wrong: str
    ) -> None:
        """No name of a project has its form."""
        with pytest.raises(InvalidRequest):
            make_osv().vulnerability(wrong)
        assert service.calls == []

    def test_foreign_bytes_in_the_cache(self, make_osv: MakeOSV, backend: Backend) -> None:
        """They are ignored."""
        osv = make_osv()
        osv.batch([FLASK])
        for data in (b"", b"x", b"1\n2\nx", b"nan\n2\n", b"1e9\nx\nx"):
            backend.put(f"osv\0{osv._url}\0batch\0flask\x001.0\0", data)
            assert parsed(osv.batch([FLASK])) == [FOUND]

    def test_callers_at_the_same_time(self, make_osv: MakeOSV, service: VulnerabilityService) -> None:
        """They make one request."""
        osv, go_on, begun = make_osv(), threading.Event(), threading.Event()

        def hold(request: Request) -> None:
            begun.set()
            go_on.wait(30)

        service.answer = hold
        with ThreadPoolExecutor(4) as threads:
            first = threads.submit(osv.batch, [FLASK])
            assert begun.wait(30)
            others = [threads.submit(osv.batch, [FLASK]) for _ in range(3)]
            go_on.set()
            assert all(parsed(each.result()) == [FOUND] for each in (first, *others))
        assert len(service.calls) == 1


class TestWithoutTheService:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Response("", 503), id="503"),
            pytest.param(Response("", 429, {"Retry-After": "3600"}), id="429"),
            pytest.param(Response("<html>", 200), id="a web page"),
            pytest.param(Response("", 302, {"Location": "/elsewhere"}), id="a redirect"),
            pytest.param(Response("", 400), id="400"),
        ],
    )
    def test_old_answers_are_given_for_a_week(
        self, make_osv: MakeOSV, service: VulnerabilityService, clock: Clock, answer: Response
    ) -> None:
        """They have their age. After that, and for what was never answered, it is an error."""
        osv = make_osv()
        osv.batch([DJANGO])
        clock.now += 100
        osv.batch([FLASK])
        service.answer = lambda _: answer
        clock.now += 1000
        assert parsed(found := make_osv().batch([FLASK, DJANGO])) == [FOUND, {}]
        assert found.age == 1100
        with pytest.raises((Unreachable, ProtocolError)):
            make_osv().batch([FLASK, Query("unknown")])
        clock.now += STALE_TTL
        with pytest.raises((Unreachable, ProtocolError)):
            make_osv().batch([FLASK])

    def test_it_is_not_asked_for_a_while(
        self, make_osv: MakeOSV, service: VulnerabilityService, clock: Clock
    ) -> None:
        """After several failures, nobody waits for it for half a minute."""
        osv = make_osv(circuit=Circuit(2, 30, clock, name=NAME))
        service.answer = lambda _: Response("", 500)
        for _ in range(2):
            with pytest.raises(Unavailable, match=NAME):
                osv.batch([FLASK])
        service.answer = None
        with pytest.raises(Unavailable, match=f"{NAME} has failed several times"):
            osv.batch([FLASK])
        clock.now += 31
        assert parsed(osv.batch([FLASK])) == [FOUND]


def test_what_is_counted(make_osv: MakeOSV, service: VulnerabilityService) -> None:
    """Requests by result, and for each query whether the answer was remembered. No name."""
    counted: list[tuple[object, ...]] = []
    osv = make_osv(events=Events(count=lambda *values: counted.append(values)))
    osv.batch([FLASK])
    osv.batch([FLASK, DJANGO])
    service.answer = lambda _: Response("", 503)
    with pytest.raises(Unavailable):
        osv.query(FLASK)
    assert [values for values in counted if values[0] == "osv"] == [
        ("osv", "done"),
        ("osv", "done"),
        ("osv", "Unavailable"),
    ]
    looked_up = [values[2] for values in counted if values[:2] == ("cache", "osv")]
    assert looked_up == ["miss", "hit", "miss", "miss"]


class TestAnswers:
    def test_gzip(self, make_osv: MakeOSV, service: VulnerabilityService) -> None:
        """Answers may be compressed."""
        content = gzip.compress(json.dumps({"results": [FOUND]}).encode())
        service.answer = lambda _: Response(content, headers={"Content-Encoding": "gzip"})
        assert parsed(make_osv().batch([FLASK])) == [FOUND]

    def test_a_bomb(self, make_osv: MakeOSV, service: VulnerabilityService) -> None:
        """One that is too long, unpacked, is refused."""
        content = gzip.compress(b" " * 20_000_000)
        service.answer = lambda _: Response(content, headers={"Content-Encoding": "gzip"})
        with pytest.raises(ProtocolError, match="sent more than"):
            make_osv().batch([FLASK])

    def test_unknown_keys_of_a_batch(self, make_osv: MakeOSV, service: VulnerabilityService) -> None:
        """They are left out, as is a time that is none."""
        entry = {"id": BUG, "modified": "<script>", "more": 1}
        document = {"results": [{"vulns": [entry], "next_page_token": 1, "x": 1}]}
        service.answer = lambda _: Response(json.dumps(document))
        assert parsed(make_osv().batch([FLASK])) == [{"vulns": [{"id": BUG}]}]
