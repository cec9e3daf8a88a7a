"""What is sent to another package index, which redirects are followed, and what the answers mean."""

from __future__ import annotations

import gzip
import json
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from pyoci import request_scope
from pyoci.admission import PARSING, Admission
from pyoci.errors import ClientLeft, Denied, NotFound, ProtocolError, PyOCIError, Unreachable
from pyoci.net.transport import Transport
from pyoci.upstream.address import UpstreamAddress
from pyoci.upstream.client import HTML_LIMIT, JSON_LIMIT, UpstreamClient, freshness_lifetime
from pyoci.upstream.service import Upstream
from pyoci.worker.answers import ServerThread
from tests.upstream.conftest import MakeUpstream
from tests.upstreams import HTML, JSON, PackageIndex, json_page, package_index

SECRET = "Bearer planted-secret"
PATIENCE = 20.0  # seconds


def page(upstream: Upstream, name: str = "hello-world") -> list[str]:
    """The URLs of the files on a page."""
    return [file.url for file in upstream.page(name).files]


def sends(body: bytes | str = "", status: int = 200, kind: str = JSON, **headers: str) -> Any:
    """Always sends this answer."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: Response(body, status, fields, content_type=kind)


@pytest.mark.parametrize("forms", [(JSON, HTML), (JSON,), (HTML, JSON), (HTML,), ("text/html",)], ids=str)
@pytest.mark.parametrize("zipped", [True, False], ids=["gzip", "identity"])
def test_json_is_preferred(
    elsewhere: PackageIndex, make_upstream: MakeUpstream, forms: tuple[str, ...], zipped: bool
) -> None:
    """HTML is parsed too; both may be compressed."""
    elsewhere.forms, elsewhere.zipped = forms, zipped
    (file,) = make_upstream().page("hello-world").files
    assert file.url == f"{elsewhere.url}/files/hello_world-1.0-py3-none-any.whl"
    assert file.hashes == elsewhere.projects["hello-world"][0]["hashes"]
    assert file.core_metadata == elsewhere.projects["hello-world"][0]["core-metadata"]
    assert (file.size is None) == (JSON not in forms)


def test_what_is_sent(elsewhere: PackageIndex, make_upstream: MakeUpstream) -> None:
    """Credentials are in one header, and nothing of them is in the page."""
    elsewhere.authorization = SECRET
    upstream = make_upstream(authorization=SECRET)
    found = upstream.page("hello-world")
    assert elsewhere.requests[0].headers["Authorization"] == SECRET
    assert "planted-secret" not in repr(found) + repr(upstream.address)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        pytest.param(sends(status=404), NotFound, "has no project hello-world", id="404"),
        pytest.param(sends(status=410), NotFound, "has no project hello-world", id="410"),
        pytest.param(sends(status=401), ProtocolError, "PYOCI_UPSTREAM_AUTH", id="401"),
        pytest.param(sends(status=403), Denied, "refuses the page of hello-world", id="403"),
        pytest.param(sends(status=451), Denied, "refuses the page of hello-world", id="451"),
        pytest.param(sends(status=400), ProtocolError, "answered 400", id="400"),
        pytest.param(sends(status=204), ProtocolError, "answered 204", id="204"),
        pytest.param(sends(status=304), ProtocolError, "answered 304", id="304 unasked"),
        pytest.param(sends(status=500), Unreachable, "can't answer now", id="500"),
        pytest.param(sends(status=503, Retry_After="60"), Unreachable, "can't answer now", id="503"),
        pytest.param(sends(status=429, Retry_After="60"), Unreachable, "can't answer now", id="429"),
        pytest.param(sends("{}", kind="text/plain"), ProtocolError, "neither JSON nor HTML", id="text"),
        pytest.param(sends("{}", kind=""), ProtocolError, "neither JSON nor HTML", id="no type"),
        pytest.param(sends("<a>"), ProtocolError, "can't be read", id="HTML said to be JSON"),
        pytest.param(
            sends("[]"), ProtocolError, "isn't a project's page; expected the simple API's", id="no page"
        ),
        pytest.param(sends("x", Content_Encoding="gzip"), ProtocolError, "decompressed", id="no gzip"),
        pytest.param(sends("x", Content_Encoding="br"), ProtocolError, "expected gzip", id="another packing"),
        pytest.param(
            sends(gzip.compress(b"{}" * 100)[:-5], Content_Encoding="gzip"),
            ProtocolError,
            "decompressed",
            id="half a gzip",
        ),
    ],
)
def test_what_answers_mean(
    elsewhere: PackageIndex, make_upstream: MakeUpstream, answer: Any, kind: type[PyOCIError], says: str
) -> None:
    """One sentence, which names upstream and not its address."""
    elsewhere.answer = answer
    with pytest.raises(kind, match=says) as failure:
        make_upstream().page("hello-world")
    assert "the upstream package index" in failure.value.message
    assert "127.0.0.1" not in failure.value.message


@pytest.mark.parametrize(("kind", "limit"), [(JSON, JSON_LIMIT), (HTML, HTML_LIMIT)])
def test_a_compression_bomb_is_not_unpacked(
    elsewhere: PackageIndex, make_upstream: MakeUpstream, kind: str, limit: int
) -> None:
    """Unpacking stops at the limit of a page."""
    elsewhere.answer = sends(gzip.compress(bytes(2 * limit), 1), kind=kind, Content_Encoding="gzip")
    with pytest.raises(ProtocolError, match=f"more than {limit} bytes"):
        make_upstream().page("hello-world")


@pytest.mark.parametrize(
    ("kind", "page", "says"),
    [
        (JSON, lambda: b'{"files":[' + b"{}," * 10_000_000 + b"{}]}", "hardly more than brackets"),
        (JSON, lambda: b'{"files":[' + b"{ }," * 7_000_000 + b"{}]}", "more than 1000000 values"),
        (JSON, lambda: b'{"files":[' + b'"",' * 50_001 + b'""]}', "more than 50000 files"),
        (
            JSON,
            lambda: b'{"files":[],"x":"' + "\U0001f40d".encode() + b"x" * 20_000_000 + b'"}',
            "bytes of memory",
        ),
        (HTML, lambda: b"<a href=x>" * 1_500_000, "more than 50000 files"),
        (HTML, lambda: b"<a" + b" a" * 7_000_000 + b">", "an element of more than 262144 characters"),
        (HTML, lambda: b'<a x=">' + b" a" * 7_000_000 + b'">', "an element of more than 262144 characters"),
        (HTML, lambda: b"<!--" + b"x" * 8_000_000, "an element of more than 262144 characters"),
    ],
    ids=["brackets", "values", "files", "wide text", "links", "attributes", "a quoted end", "a comment"],
)
def test_a_page_takes_bounded_memory(
    elsewhere: PackageIndex, make_upstream: MakeUpstream, kind: str, page: Callable[[], bytes], says: str
) -> None:
    """242 KiB of gzip became 1.5 GiB of dictionaries, and 1.5 million links 768 MiB."""
    elsewhere.answer = sends(gzip.compress(page(), 1), kind=kind, Content_Encoding="gzip")
    upstream = make_upstream()
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=says):
            upstream.page("hello-world")
        assert tracemalloc.get_traced_memory()[1] < 120 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_large_page_is_requested_once(
    elsewhere: PackageIndex, make_upstream: MakeUpstream, zipped: bool
) -> None:
    """Its size is announced, or it is small in gzip. Several at once are read one after the other."""
    elsewhere.zipped = zipped
    names = ["one", "two", "three"]
    for name in names:
        elsewhere.add_versions(name, 20_000)
    upstream = make_upstream()
    with ThreadPoolExecutor() as threads:
        pages = list(threads.map(upstream.page, names))
    assert [len(page.files) for page in pages] == [20_000] * 3
    assert [elsewhere.asked(name) for name in names] == [1, 1, 1]


def test_a_large_page_without_a_length(elsewhere: PackageIndex, make_upstream: MakeUpstream) -> None:
    """It is requested again when no other large one is being read."""
    elsewhere.add_versions("flask", 20_000)
    body = json_page("flask", elsewhere.projects["flask"]).encode()
    elsewhere.answer = lambda _: Response(iter([body]), content_type=JSON)
    assert len(make_upstream().page("flask").files) == 20_000
    assert elsewhere.asked("flask") == 2


class Waiting(request_scope.RequestScope):
    """The scope of a request. Notes how much memory is in use when it waits."""

    def __init__(self) -> None:
        super().__init__(ServerThread())
        self.waits = threading.Event()
        self.memory = 0

    def wait(self, seconds: float, *others: Future[Any]) -> None:
        if others:
            self.memory = tracemalloc.get_traced_memory()[0]
            self.waits.set()
        super().wait(seconds, *others)


def test_a_request_that_waits_for_other_large_pages(elsewhere: PackageIndex) -> None:
    """It doesn't keep what it has read, and its thread is free at once when the request is ended."""
    bomb = gzip.compress(b'{"files":["%b"]}' % (b"x" * 15_000_000), 1)
    elsewhere.answer = sends(bomb, Content_Encoding="gzip")
    large, scope, transport = Admission(), Waiting(), Transport()
    client = UpstreamClient(UpstreamAddress.parse(elsewhere.simple, None), transport, large)

    def request() -> None:
        request_scope.enter(scope)
        with pytest.raises(ClientLeft):
            client.fetch("bomb", {})

    with closing(transport), large.turn("another", 0.0, "late"), ThreadPoolExecutor() as threads:
        tracemalloc.start()
        try:
            ended = threads.submit(request)
            assert scope.waits.wait(PATIENCE)
            assert elsewhere.asked("bomb") == 1
            assert scope.end(ClientLeft("the client has left"))
            ended.result(PATIENCE)
        finally:
            tracemalloc.stop()
    assert scope.memory < 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("value", "busy", "says"),
    [
        pytest.param(b"{},", PARSING, "hardly more than brackets and commas", id="its first 64 KiB"),
        pytest.param(b"{ },", Admission(), "more than 1000000 values", id="its first four megabytes"),
    ],
)
def test_a_page_of_many_values_is_refused_by_its_beginning(
    elsewhere: PackageIndex, value: bytes, busy: Admission, says: str
) -> None:
    """It waits for no other large page, the shorter beginning not even for other parsing."""
    bomb = gzip.compress(b'{"files":[' + value * 10_000_000 + b"{}]}", 1)
    elsewhere.answer = sends(bomb, Content_Encoding="gzip")
    large, transport = Admission(), Transport()
    client = UpstreamClient(UpstreamAddress.parse(elsewhere.simple, None), transport, large)
    with (
        closing(transport),
        large.turn("another", 0.0, "late"),
        busy.turn("another", 0.0, "late"),
        pytest.raises(ProtocolError, match=says),
    ):
        client.fetch("bomb", {})
    assert elsewhere.asked("bomb") == 1


def test_small_pages_do_not_wait_for_large_ones(elsewhere: PackageIndex, make_upstream: MakeUpstream) -> None:
    """While a large document of any sender is parsed."""
    with PARSING.turn("another", 0.0, "late"):
        assert make_upstream().page("hello-world").files
        elsewhere.answer = sends(status=404)
        with pytest.raises(NotFound):
            make_upstream().page("flask")
    elsewhere.answer = sends(json.dumps({"files": [{}] * 50_000}))
    with PARSING.turn("another", 0.0, "late"), pytest.raises(Unreachable, match="other large pages"):
        make_upstream(document_seconds=0.5).page("large")


def test_json_must_be_of_the_same_project(elsewhere: PackageIndex, make_upstream: MakeUpstream) -> None:
    """Another project's page is refused; another spelling of the name is not."""
    document = {"meta": {"api-version": "1.0"}, "name": "Hello.World", "files": []}
    elsewhere.answer = sends(json.dumps(document))
    assert make_upstream().page("hello-world").files == ()
    elsewhere.answer = sends(json.dumps({**document, "name": "hello"}))
    with pytest.raises(ProtocolError, match="another project"):
        make_upstream().page("hello-you")


def redirecting(location: Callable[[PackageIndex], str], times: int = 1) -> Any:
    """Redirects a number of times, then answers as usual."""
    left = [times]

    def build(elsewhere: PackageIndex) -> Callable[[Request], Response | None]:
        def answer(request: Request) -> Response | None:
            left[0] -= 1
            return None if left[0] < 0 else Response("", 302, {"Location": location(elsewhere)})

        return answer

    return build


@pytest.mark.parametrize(
    ("location", "times", "good"),
    [
        pytest.param(lambda there: "/simple/hello-world/", 1, True, id="a path"),
        pytest.param(lambda there: "../hello-world/", 3, True, id="relative, three times"),
        pytest.param(lambda there: f"{there.url}/simple/hello-world/", 1, True, id="absolute"),
        pytest.param(lambda there: "/simple/hello-world/", 4, False, id="four times"),
        pytest.param(lambda there: "", 1, False, id="nowhere"),
        pytest.param(lambda there: "file:///etc/passwd", 1, False, id="a file"),
        pytest.param(lambda there: "http://me:secret@127.0.0.1/", 1, False, id="credentials"),
        pytest.param(lambda there: "http://169.254.169.254/", 1, False, id="a cloud's secrets"),
        pytest.param(lambda there: "http://0.0.0.0/", 1, False, id="no address"),
    ],
)
def test_redirects(
    elsewhere: PackageIndex,
    make_upstream: MakeUpstream,
    location: Callable[[PackageIndex], str],
    times: int,
    good: bool,
) -> None:
    """Three are followed, to permitted addresses; links are relative to the last URL."""
    elsewhere.answer = redirecting(location, times)(elsewhere)
    if good:
        assert page(make_upstream()) == [f"{elsewhere.url}/files/hello_world-1.0-py3-none-any.whl"]
    else:
        with pytest.raises(ProtocolError, match="the upstream package index") as failure:
            make_upstream().page("hello-world")
        assert "169.254" not in failure.value.message


def test_credentials_go_to_no_other_origin(elsewhere: PackageIndex, make_upstream: MakeUpstream) -> None:
    """Another port is another origin. A redirect back gets no credentials, either."""
    with package_index() as third:
        third.add_wheel("hello-world")
        elsewhere.answer = lambda request: Response("", 307, {"Location": f"{third.simple}hello-world/"})
        upstream = make_upstream(authorization=SECRET)
        assert page(upstream) == [f"{third.url}/files/hello_world-1.0-py3-none-any.whl"]
        assert "Authorization" in elsewhere.requests[0].headers
        assert "Authorization" not in third.requests[0].headers

        elsewhere.answer = lambda request: Response("", 307, {"Location": f"{third.simple}back/"})
        third.answer = lambda request: Response("", 307, {"Location": f"{elsewhere.simple}hello-world/"})
        with pytest.raises(ProtocolError, match="redirects more than"):
            upstream.page("other")
        sent = ["Authorization" in request.headers for request in elsewhere.requests]
        assert sent == [True, True, False]


def test_an_upstream_that_cannot_be_reached(make_upstream: MakeUpstream) -> None:
    """One sentence, without the address."""
    with package_index() as gone:
        url = gone.simple
    with pytest.raises(Unreachable, match="upstream package index could not be reached") as failure:
        make_upstream(url).page("hello-world")
    assert "127.0.0.1" not in failure.value.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, 300.0, id="nothing said"),
        pytest.param({"cache-control": "max-age=600, public"}, 600.0, id="as PyPI says"),
        pytest.param({"cache-control": "max-age=600", "age": "200"}, 400.0, id="old already"),
        pytest.param({"cache-control": "max-age=600", "age": "900"}, 60.0, id="too old already"),
        pytest.param({"cache-control": "max-age=600", "age": "soon"}, 600.0, id="of no age"),
        pytest.param({"cache-control": 'Max-Age="120"'}, 120.0, id="quoted"),
        pytest.param({"cache-control": "s-maxage=120, max-age=600"}, 120.0, id="for shared caches"),
        pytest.param({"cache-control": "max-age=0"}, 60.0, id="at least a minute"),
        pytest.param({"cache-control": "no-cache, max-age=600"}, 60.0, id="no-cache"),
        pytest.param({"cache-control": "no-store"}, 60.0, id="no-store"),
        pytest.param({"cache-control": "max-age=31536000, immutable"}, 3600.0, id="at most an hour"),
        pytest.param({"cache-control": "max-age=-1"}, 300.0, id="negative"),
        pytest.param({"cache-control": "max-age=" + "9" * 50}, 300.0, id="absurd"),
        pytest.param({"cache-control": ",,=,x" * 1000}, 300.0, id="nonsense"),
    ],
)
def test_freshness_lifetime(headers: dict[str, str], seconds: float) -> None:
    """The lifetime that upstream specifies, from a minute to an hour."""
    assert freshness_lifetime(headers, 300.0) == seconds
