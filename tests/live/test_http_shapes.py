"""Invalid and unusual requests: each gets its answer, the connection stays in step, the server survives. A
second request follows every request. If a proxy and PyOCI saw different bodies, the second one could be
smuggled past the proxy: so after anything doubtful the connection is closed, and the second one is never
answered.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode

import pytest

from tests.live.conftest import WRITER
from tests.live.servers import Server
from tests.live.sockets import exchange, is_well, make_head, statuses

pytestmark = pytest.mark.live()

POST = "POST /local/acme/ HTTP/1.1"
CHUNKED = make_head(POST, "Transfer-Encoding: chunked")
PAGE = "GET /local/acme/hello/ HTTP/1.1"
SECOND = b"GET /robots.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ANSWERED = 404  # the second one


def make_get(path: str) -> bytes:
    return make_head(f"GET {path} HTTP/1.1")


def make_upload(name: str = "hello", version: str = "1.0", filename: str = "hello-1.0.tar.gz") -> bytes:
    fields = {":action": "file_upload", "protocol_version": "1", "name": name, "version": version}
    parts = [f'form-data; name="{field}"\r\n\r\n{value}' for field, value in fields.items()]
    parts.append(f'form-data; name="content"; filename="{filename}"\r\n\r\nno archive')
    form = "".join(f"--b\r\nContent-Disposition: {part}\r\n" for part in parts) + "--b--\r\n"
    return make_head(
        POST, "Content-Type: multipart/form-data; boundary=b", f"Content-Length: {len(form)}"
    ) + (form.encode())


def make_yank(reason: str) -> bytes:
    body = json.dumps({"yanked": reason}).encode()
    return make_head("PATCH /local/acme/hello/1.0 HTTP/1.1", f"Content-Length: {len(body)}") + body


def make_foreign(line: str, *headers: str) -> bytes:
    """A request with a body too large for one piece."""
    return make_head(line, *headers, "Content-Length: 60000") + b"x" * 60_000


FRAMING = {
    "length-and-chunks": make_head(POST, "Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "two-lengths": make_head(POST, "Content-Length: 4", "Content-Length: 5") + b"abcde",
    "one-length-twice": make_head(POST, "Content-Length: 4", "Content-Length: 4") + b"abcd",
    "length-list": make_head(POST, "Content-Length: 4, 4") + b"abcd",
    "length-plus": make_head(POST, "Content-Length: +4") + b"abcd",
    "length-negative": make_head(POST, "Content-Length: -4") + b"abcd",
    "length-hex": make_head(POST, "Content-Length: 0x4") + b"abcd",
    "length-underscore": make_head(POST, "Content-Length: 1_0") + b"abcd",
    "space-before-colon": make_head(POST, "Content-Length : 4") + b"abcd",
    "obsolete-folding": make_head("GET /health HTTP/1.1", "X: a", "  b"),
    "chunked-not-last": make_head(POST, "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "chunked-twice": CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-and-gzip": make_head(POST, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "vertical-tab": make_head(POST, "Transfer-Encoding:\x0bchunked") + b"0\r\n\r\n",
    "chunks-in-1.0": b"POST /local/acme/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk-extension-nul": CHUNKED + b"4;a=\x00\r\nabcd\r\n0\r\n\r\n",
    "chunk-size-letters": CHUNKED + b"zz\r\nabcd\r\n0\r\n\r\n",
    "chunk-size-negative": CHUNKED + b"-4\r\nabcd\r\n0\r\n\r\n",
    "chunk-size-prefix": CHUNKED + b"0x4\r\nabcd\r\n0\r\n\r\n",
    "chunk-size-empty": CHUNKED + b"\r\nabcd\r\n0\r\n\r\n",
    "chunk-lf": CHUNKED + b"4\nabcd\n0\n\n",
    "chunk-too-long": CHUNKED + b"4\r\nabcdXX0\r\n\r\n",
    "trailer-length": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "lf-only": b"GET /health HTTP/1.1\nHost: localhost\n\n",
    "bare-cr": b"GET /health HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n",
    "two-hosts": make_head("GET /health HTTP/1.1", "Host: other"),
    "no-version": b"GET /health\r\n\r\n",
    "http-0.9": make_head("GET /health HTTP/0.9"),
    "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "absolute-form-broken": make_head("GET http://[/health HTTP/1.1"),
    "authority-form": make_head("GET localhost:80 HTTP/1.1"),
    "no-slash": make_head("GET health HTTP/1.1"),
    "nul-in-target": make_head("GET /hea\x00lth HTTP/1.1"),
    "nul-in-header": make_head("GET /health HTTP/1.1", "X: a\x00b"),
    "raw-latin-1-target": make_head("GET /\xe9 HTTP/1.1"),
    "space-in-target": make_head("GET /a b HTTP/1.1"),
    "lower-case-method": make_head("get /health HTTP/1.1"),
    "long-method": make_head(f"{'A' * 30} /health HTTP/1.1"),
    "no-header-name": make_head("GET /health HTTP/1.1", ": x"),
    "no-colon": make_head("GET /health HTTP/1.1", "nothing"),
    "two-empty-lines-ahead": b"\r\n\r\n" + make_head(),
    "binary": bytes(range(256)),
    "two-schemes": make_head("GET /health HTTP/1.1", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"),
}  # fmt: skip

LIMITS = {
    "request-line": (make_get(f"/{'a' * 9000}"), 414),
    "field": (make_head("GET /health HTTP/1.1", f"X: {'a' * 20_000}"), 431),
    "fields": (make_head("GET /health HTTP/1.1", *(f"X-{i}: y" for i in range(150))), 431),
    "head": (make_head("GET /health HTTP/1.1", *(f"X-{i}: {'y' * 1000}" for i in range(90))), 431),
    "head-without-end": (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, 431),
    "transfer-coding": (make_head(POST, "Transfer-Encoding: xchunked"), 501),
    "expectation": (make_head("GET /health HTTP/1.1", "Expect: rubbish"), 417),
    "length-of-everything": (make_head(POST, f"Content-Length: {10**18}"), 400),
}

IN_STEP = {
    "chunks": (CHUNKED + b"4\r\nabcd\r\n0\r\n\r\n", 400),
    "chunk-extension": (CHUNKED + b"4;a=b\r\nabcd\r\n0\r\n\r\n", 400),
    "trailer": (CHUNKED + b"0\r\nX: y\r\n\r\n", 400),
    "identity-and-chunked": (make_head(POST, "Transfer-Encoding: identity, chunked") + b"0\r\n\r\n", 400),
    "absolute-form": (make_head("GET http://localhost/health HTTP/1.1"), 200),
    "absolute-form-elsewhere": (make_head("GET http://evil.example/health HTTP/1.1"), 200),
    "asterisk-form": (make_head("OPTIONS * HTTP/1.1"), 405),
    "trace": (make_head("TRACE /health HTTP/1.1"), 405),
    "empty-line-ahead": (b"\r\n" + make_head(), 200),
    "underscore": (make_head("GET /health HTTP/1.1", "Content_Length: 5"), 200),
    "script-name": (make_head("GET /health HTTP/1.1", "SCRIPT_NAME: /x"), 200),
    "upgrade": (make_head("GET /health HTTP/1.1", "Connection: Upgrade", "Upgrade: h2c"), 200),
    "encoded-dots": (make_get("/local/acme/%2e%2e/%2e%2e/hello/"), 400),
    "encoded-dots-twice": (make_get("/local/%252e%252e/hello/"), 400),
    "encoded-slash": (make_get("/local/acme%2fteam/hello/"), 404),
    "encoded-slash-twice": (make_get("/local/acme%252fteam/hello/"), 400),
    "double-slash": (make_get("//evil.example/acme/Hello/"), 403),
    "backslash": (make_get("/local\\acme/hello/"), 404),
    "nul-namespace": (make_get("/local/ac%00me/hello/"), 400),
    "nul-project": (make_get("/local/acme/hel%00lo/"), 400),
    "nul-file": (make_get("/local/acme/hello/hello-1.0%00.tar.gz"), 400),
    "not-utf-8": (make_get("/local/acme/%ff%fe/"), 400),
    "no-hex": (make_get("/local/acme/%zz/"), 400),
    "crlf-registry": (make_get("/reg%0d%0aPlanted:y.example/acme/hello/"), 404),
    "crlf-namespace": (make_get("/local/acme%0d%0aPlanted:y/hello/"), 404),
    "crlf-project": (make_get("/local/acme/Hel%0d%0aPlanted:y/"), 404),
    "crlf-file": (make_get("/local/acme/hello/hello-1.0%0d%0aPlanted:y.tar.gz"), 400),
    "crlf-metadata": (make_get("/local/acme/hello/hello-1.0%0d%0aPlanted:y.whl.metadata"), 400),
    "crlf-format": (make_get("/local/acme/hello/?format=%0d%0aPlanted:y"), 406),
    "crlf-query-of-a-redirect": (make_get("/local/acme/hello?a=%0d%0aPlanted:y"), 301),
    "crlf-field": (make_upload(version="1.0\r\nPlanted: y"), 400),
    "crlf-filename": (make_upload(filename="hello-1.0\nPlanted: y.tar.gz"), 400),
    "crlf-field-name": (make_upload(name="hello\r\nPlanted: y"), 400),
    "crlf-yank": (make_yank("\r\nPlanted: y"), 404),
    "crlf-credentials": (make_head(PAGE, "Authorization: Basic YQ0KUGxhbnRlZDogeTpi"), 401),
    "nul-credentials": (make_head(PAGE, "Authorization: Basic AAAA"), 401),
    "latin-1-credentials": (make_head(PAGE, "Authorization: Basic \xe9\xe9"), 401),
    "no-host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "no-host-page": (b"GET /local/acme/hello/ HTTP/1.1\r\nAccept: */*\r\n\r\n", 400),
    "no-host-ready": (b"GET /ready HTTP/1.1\r\n\r\n", 400),
    "no-host-upload": (b"POST /local/acme/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "no-host-registry": (b"GET /v2/ HTTP/1.1\r\n\r\n", 400),
    "foreign-origin": (make_foreign(POST, "Origin: https://evil.example"), 403),
    "foreign-origin-null": (make_foreign(POST, "Origin: null"), 403),
    "foreign-origin-port": (make_foreign(POST, "Origin: http://localhost:1"), 403),
    "foreign-site": (make_foreign(POST, "Sec-Fetch-Site: cross-site"), 403),
    "foreign-yank": (make_foreign("PATCH /local/acme/hello/1.0 HTTP/1.1", "Origin: null"), 403),
    "foreign-delete": (make_foreign("DELETE /local/acme/hello/1.0 HTTP/1.1", "Origin: null"), 403),
    "foreign-put": (make_foreign("PUT /v2/acme/hello/manifests/1.0 HTTP/1.1", "Origin: null"), 403),
    "foreign-registry": (make_foreign("POST /v2/acme/hello/blobs/uploads/ HTTP/1.1", "Origin: null"), 403),
    "own-origin": (make_foreign(POST, "Origin: http://localhost"), 400),
    "own-origin-behind-tls": (
        make_foreign("POST /lab/acme/ HTTP/1.1", "Origin: https://localhost", "X-Forwarded-Proto: https"),
        400,
    ),
    "encoded-upload": (make_foreign(POST, "Content-Encoding: gzip"), 415),
    "encoded-yank": (make_foreign("PATCH /local/acme/hello/1.0 HTTP/1.1", "Content-Encoding: br"), 415),
    "encoded-blob": (
        make_foreign("POST /v2/acme/hello/blobs/uploads/ HTTP/1.1", "Content-Encoding: gzip"),
        415,
    ),
    "not-encoded-upload": (make_foreign(POST, "Content-Encoding: identity"), 400),
    "many-ranges": (
        make_head("GET /local/acme/hello/hello-1.0.tar.gz HTTP/1.1", f"Range: bytes={'0-1,' * 1000}"),
        404,
    ),
    "many-languages": (make_head(PAGE, f"Accept: {'text/html;q=0.1,' * 900}"), 404),
}


@pytest.mark.parametrize("data", FRAMING.values(), ids=FRAMING)
def test_doubtful_framing(pyoci: Server, data: bytes) -> None:
    """It is refused, and the bytes after it aren't parsed as a request."""
    answer = exchange(pyoci, data + SECOND)
    assert statuses(answer) == [400]
    assert b"\r\nConnection: close\r\n" in answer
    assert is_well(pyoci)


@pytest.mark.parametrize(("data", "status"), LIMITS.values(), ids=LIMITS)
def test_limits(pyoci: Server, data: bytes, status: int) -> None:
    """A request that is too large, or not understood, is refused with its status, and the connection is
    closed.
    """
    answer = exchange(pyoci, data + SECOND)
    assert statuses(answer) == [status]
    assert b"\r\nConnection: close\r\n" in answer
    assert b"\r\nContent-Type: text/plain" in answer
    assert b"<" not in answer
    assert is_well(pyoci)


@pytest.mark.parametrize(("data", "status"), IN_STEP.values(), ids=IN_STEP)
def test_in_step(pyoci: Server, data: bytes, status: int) -> None:
    """An unusual but valid request is answered, adds no header, and so is the request after it."""
    answers = exchange(pyoci, data + SECOND)
    assert statuses(answers) == [status, ANSWERED]
    assert re.search(rb"(?im)^planted", answers.replace(b"\r", b"\n")) is None
    assert is_well(pyoci)


def test_no_host_in_http_1_0(pyoci: Server) -> None:
    """HTTP/1.0 doesn't require it."""
    assert exchange(pyoci, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 ")


def test_a_page_of_another_site_writes_nothing_with_a_users_password(guarded_pyoci: Server) -> None:
    """The browser adds the user's password for this server. Packages and the registry aren't changed."""
    password = "Authorization: Basic " + b64encode(":".join(WRITER).encode()).decode()
    for path in ("/local/acme/", "/v2/acme/hello/blobs/uploads/"):
        for foreign in ("Origin: https://evil.example", "Sec-Fetch-Site: cross-site"):
            head = make_foreign(f"POST {path} HTTP/1.1", password, foreign, "Connection: close")
            assert statuses(exchange(guarded_pyoci, head)) == [403]
        head = make_head(f"POST {path} HTTP/1.1", password, "Content-Length: 0", "Connection: close")
        assert statuses(exchange(guarded_pyoci, head)) in ([202], [400])


def test_pipelining(pyoci: Server) -> None:
    """Requests in one packet are answered in order. One may be split."""
    data = make_get("/health") + make_get("/nowhere/acme/") + make_get("/health") + SECOND
    assert statuses(exchange(pyoci, data)) == [200, 404, 200, ANSWERED]
