"""Downloads, metadata, yanks and deletes, through HTTP."""

from __future__ import annotations

import hashlib
import json

import pytest
from flask.testing import FlaskClient

from pyoci.errors import ProtocolError
from pyoci.oci.registries import ShortUrl, ShortUrls
from tests.web.conftest import LoggedEvents, MakeApp
from tests.web.doubles import PIECE, MemoryStore

PROJECT = "/ghcr.io/acme/hello-world/"
WHEEL = "hello_world-1.0-py3-none-any.whl"
LOCAL = "hello_world-1!2.0+cu121-py3-none-any.whl"
CONTENT = bytes(range(256)) * 64
TAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
FOR_EVER = "private, max-age=31536000, immutable"
CHECK_FIRST = "private, no-cache"
METADATA = "Metadata-Version: 2.1\r\nName: hello-world\nVersion: 1.0\n\nna\u00efve\n".encode()


@pytest.fixture(autouse=True)
def project(store: MemoryStore) -> None:
    """A project with a file of each kind."""
    store.put(WHEEL, CONTENT, metadata=METADATA)
    store.put("hello_world-1.0.tar.gz", b"sdist")
    store.put("hello_world-2.0.zip", b"zip")
    store.put("hello_world-3.0.tar.bz2", b"bzip2")
    store.put("hello_world-3.0.tgz", b"gzip")


class TestDownload:
    """GET and HEAD of a file."""

    def test_whole(self, client: FlaskClient, store: MemoryStore) -> None:
        """The bytes are streamed. Clients revalidate a file that they cached from a plain address."""
        answer = client.get(PROJECT + WHEEL)
        assert (answer.status_code, answer.data) == (200, CONTENT)
        assert answer.headers["Content-Length"] == str(len(CONTENT))
        assert answer.headers["ETag"] == TAG
        assert answer.headers["Cache-Control"] == CHECK_FIRST
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{WHEEL}"'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert [call[0] for call in store.calls] == ["open"]

    @pytest.mark.parametrize(
        ("filename", "content_type"),
        [
            (WHEEL, "application/octet-stream"),
            ("hello_world-1.0.tar.gz", "application/gzip"),
            ("hello_world-2.0.zip", "application/zip"),
            ("hello_world-3.0.tar.bz2", "application/x-bzip2"),
            ("hello_world-3.0.tgz", "application/gzip"),
        ],
    )
    def test_type(self, client: FlaskClient, filename: str, content_type: str) -> None:
        """A tar.gz has no Content-Encoding: clients would unpack it."""
        answer = client.get(PROJECT + filename, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Type"] == content_type
        assert "Content-Encoding" not in answer.headers

    @pytest.mark.parametrize("spelling", [LOCAL, LOCAL.replace("!", "%21").replace("+", "%2B")])
    def test_encoded_names(self, client: FlaskClient, store: MemoryStore, spelling: str) -> None:
        """Epochs and local versions may be percent-encoded."""
        store.put(LOCAL)
        answer = client.get(PROJECT + spelling)
        assert (answer.status_code, store.calls[-1][3]) == (200, LOCAL)

    def test_head(self, client: FlaskClient, store: MemoryStore) -> None:
        """The same headers without a byte from the registry, whatever Range says."""
        get = client.get(PROJECT + WHEEL)
        head = client.head(PROJECT + WHEEL, headers={"Range": "bytes=0-1"})
        assert (head.status_code, head.data) == (200, b"")
        assert dict(head.headers) == dict(get.headers)
        assert [call[0] for call in store.calls] == ["open", "describe"]

    def test_head_of_a_file_without_a_known_size(self, client: FlaskClient, store: MemoryStore) -> None:
        """Other implementations store no size; the registry is asked for it."""
        store.put("hello_world-3.0.zip", b"12345", size=None)
        assert client.head(f"{PROJECT}hello_world-3.0.zip").headers["Content-Length"] == "5"
        assert client.get(f"{PROJECT}hello_world-3.0.zip").headers["Content-Length"] == "5"

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_absent(self, client: FlaskClient, method: str) -> None:
        """A missing file is a 404 that isn't cached."""
        for path in (f"{PROJECT}hello_world-9.0.zip", f"/ghcr.io/acme/other/{WHEEL}"):
            answer = client.open(path, method=method)
            assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")

    def test_stream_is_closed(self, client: FlaskClient, store: MemoryStore) -> None:
        """The connection to the registry is released, also if the client leaves."""
        assert client.get(PROJECT + WHEEL, buffered=True).data == CONTENT
        answer = client.get(PROJECT + WHEEL, buffered=False)
        assert next(answer.iter_encoded()) == CONTENT[:PIECE]
        answer.close()
        assert [stream.closed for stream in store.streams] == [True, True]


class TestRange:
    """Range and If-Range."""

    @pytest.mark.parametrize(
        ("header", "first", "last"),
        [
            pytest.param("bytes=0-0", 0, 0, id="one byte"),
            pytest.param("bytes=100-9999", 100, 9999, id="within"),
            pytest.param("bytes=16000-", 16000, 16383, id="open end"),
            pytest.param("bytes=16000-99999", 16000, 16383, id="past the end"),
            pytest.param("bytes=-10000", 6384, 16383, id="suffix, as poetry asks"),
            pytest.param("bytes=-99999", 0, 16383, id="long suffix"),
        ],
    )
    def test_part(self, client: FlaskClient, header: str, first: int, last: int) -> None:
        """A range is a 206 with Content-Range."""
        answer = client.get(PROJECT + WHEEL, headers={"Range": header})
        assert (answer.status_code, answer.data) == (206, CONTENT[first : last + 1])
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"
        assert answer.headers["Content-Length"] == str(last - first + 1)
        assert answer.headers["ETag"] == TAG

    @pytest.mark.parametrize(
        "header", ["bytes=0-1,5-6", "bytes=5-2", "lines=1-2", "bytes=-", "bytes=x-y", ""]
    )
    def test_ignored(self, client: FlaskClient, header: str) -> None:
        """Anything but a single range of bytes gets the whole file."""
        answer = client.get(PROJECT + WHEEL, headers={"Range": header})
        assert (answer.status_code, answer.data) == (200, CONTENT)

    @pytest.mark.parametrize("header", ["bytes=16384-", "bytes=99999-100000", "bytes=-0"])
    def test_outside(self, client: FlaskClient, header: str) -> None:
        """A range that selects nothing is refused, with the file's size."""
        answer = client.get(PROJECT + WHEEL, headers={"Range": header})
        assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")
        assert answer.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(
        ("condition", "status"),
        [
            pytest.param(TAG, 206, id="this file"),
            pytest.param('"other"', 200, id="another"),
            pytest.param(f"W/{TAG}", 200, id="weak"),
            pytest.param("Wed, 21 Oct 2026 07:28:00 GMT", 200, id="a date"),
        ],
    )
    def test_condition(self, client: FlaskClient, condition: str, status: int) -> None:
        """With If-Range the range is sent only if the file is the same."""
        headers = {"Range": "bytes=5-9", "If-Range": condition}
        answer = client.get(PROJECT + WHEEL, headers=headers)
        assert (answer.status_code, len(answer.data)) == (status, 5 if status == 206 else len(CONTENT))


class TestNotModified:
    """If-None-Match of files."""

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_same(self, client: FlaskClient, store: MemoryStore, method: str) -> None:
        """A client that has the file gets a 304, after the store has let the caller read."""
        answer = client.open(PROJECT + WHEEL, method=method, headers={"If-None-Match": TAG})
        assert (answer.status_code, answer.headers["ETag"]) == (304, TAG)
        assert [call[0] for call in store.calls] == ["describe"]

    def test_other(self, client: FlaskClient) -> None:
        """Any other ETag gets the file."""
        assert client.get(PROJECT + WHEEL, headers={"If-None-Match": '"other"'}).data == CONTENT

    @pytest.mark.parametrize("path", [WHEEL, f"{WHEEL}.metadata"])
    def test_credentials_go_first(self, client: FlaskClient, store: MemoryStore, path: str) -> None:
        """A correct ETag doesn't replace access."""
        tag = client.get(PROJECT + path).headers["ETag"]
        store.password = "secret"
        assert client.get(PROJECT + path, headers={"If-None-Match": tag}).status_code == 401


class TestBroken:
    """Downloads that fail."""

    def test_in_the_middle(self, client: FlaskClient, store: MemoryStore, logged: LoggedEvents) -> None:
        """After the first bytes, an error is logged and cuts the connection: the download is visibly
        incomplete.
        """
        store.break_after = 2
        answer = client.get(PROJECT + WHEEL, buffered=False)
        with pytest.raises(ValueError, match="hung up"):
            list(answer.iter_encoded())
        answer.close()
        (line,) = logged
        assert (line["level"], line["file"], line["error"]) == ("error", WHEEL, "ValueError")
        assert "secret" not in str(line)
        assert store.streams[0].closed

    def test_at_once(self, client: FlaskClient, store: MemoryStore) -> None:
        """A stream that fails before its first piece is an error status, and is closed."""
        store.break_after = 0
        answer = client.get(PROJECT + WHEEL)
        assert (answer.status_code, store.streams[0].closed) == (500, True)
        assert "secret" not in answer.text
        assert "ETag" not in answer.headers

    def test_refused(self, client: FlaskClient, store: MemoryStore) -> None:
        """The store's error has its usual answer."""
        store.failure = ProtocolError("the registry answered nonsense")
        answer = client.get(PROJECT + WHEEL)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (502, "no-store")


class TestMetadata:
    """`<file>.metadata`."""

    def test_exact(self, client: FlaskClient) -> None:
        """Byte for byte, and never compressed."""
        answer = client.get(f"{PROJECT}{WHEEL}.metadata", headers={"Accept-Encoding": "gzip"})
        assert (answer.status_code, answer.data) == (200, METADATA)
        assert answer.headers["ETag"] == f'"{hashlib.sha256(METADATA).hexdigest()}"'
        assert answer.headers["Cache-Control"] == CHECK_FIRST
        assert answer.headers["Content-Length"] == str(len(METADATA))
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert "Content-Encoding" not in answer.headers

    def test_head_and_range(self, client: FlaskClient) -> None:
        """HEAD and Range as for files."""
        path = f"{PROJECT}{WHEEL}.metadata"
        head = client.head(path, headers={"Range": "bytes=0-1"})
        assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", str(len(METADATA)))
        part = client.get(path, headers={"Range": "bytes=2-3"})
        assert (part.status_code, part.data) == (206, METADATA[2:4])
        assert client.get(path, headers={"Range": "bytes=9999-"}).status_code == 416

    def test_not_modified(self, client: FlaskClient) -> None:
        """Its ETag differs from that of the file."""
        path = f"{PROJECT}{WHEEL}.metadata"
        tag = client.get(path).headers["ETag"]
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 304

    def test_absent(self, client: FlaskClient, store: MemoryStore) -> None:
        """An sdist has none. The store gets the file's name without the ending."""
        assert client.get(f"{PROJECT}hello_world-1.0.tar.gz.metadata").status_code == 404
        assert store.calls[-1][3] == "hello_world-1.0.tar.gz"


class TestDigestAddress:
    """`+<16 hex digits of the sha256>/<file>`, which pages link to."""

    @pytest.fixture(params=["/ghcr.io/acme", "/ghcr.io/acme/+simple", "/team", "/team/%2Bsimple"])
    def below(self, request: pytest.FixtureRequest, make_app: MakeApp, store: MemoryStore) -> str:
        """The address of the wheel's parent, with a long and a short URL."""
        return f"{request.param}/hello-world/+{TAG[1:17]}/"

    @pytest.fixture
    def client(self, make_app: MakeApp) -> FlaskClient:
        """A client of a site that also has a short URL."""
        return make_app(short_urls=ShortUrls({"team": ShortUrl("ghcr.io", ("acme",))})).test_client()

    def test_for_ever(self, client: FlaskClient, below: str) -> None:
        """Clients may cache it without revalidation. Everything else is as at the plain address."""
        for path in (WHEEL, f"{WHEEL}.metadata"):
            for method in ("GET", "HEAD"):
                plain = client.open(PROJECT + path, method=method)
                answer = client.open(below + path, method=method)
                assert (answer.status_code, answer.data) == (200, plain.data)
                assert answer.headers.pop("Cache-Control") == FOR_EVER
                assert plain.headers.pop("Cache-Control") == CHECK_FIRST
                assert dict(answer.headers) == dict(plain.headers)

    @pytest.mark.parametrize("path", [WHEEL, f"{WHEEL}.metadata"])
    def test_parts(self, client: FlaskClient, below: str, path: str) -> None:
        """Range, If-Range and If-None-Match."""
        tag = client.head(below + path).headers["ETag"]
        part = client.get(below + path, headers={"Range": "bytes=2-5", "If-Range": tag})
        assert (part.status_code, part.data) == (206, (METADATA if "metadata" in path else CONTENT)[2:6])
        assert part.headers["Cache-Control"] == FOR_EVER
        for method in ("GET", "HEAD"):
            same = client.open(below + path, method=method, headers={"If-None-Match": tag})
            assert (same.status_code, same.headers["Cache-Control"]) == (304, FOR_EVER)
        outside = client.get(below + path, headers={"Range": "bytes=99999-"})
        assert (outside.status_code, outside.headers["Cache-Control"]) == (416, "no-store")

    @pytest.mark.parametrize("path", [WHEEL, f"{WHEEL}.metadata"])
    @pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "deleted"])
    def test_gone(
        self, client: FlaskClient, store: MemoryStore, below: str, path: str, replaced: bool
    ) -> None:
        """A deleted file is a 404 that isn't cached, even if it was published again."""
        tag = client.head(below + path).headers["ETag"]
        assert client.delete(PROJECT + WHEEL).status_code == 200
        if replaced:
            store.put(WHEEL, b"others", metadata=b"other METADATA")
        for method in ("GET", "HEAD"):
            for headers in ({}, {"If-None-Match": tag}, {"Range": "bytes=0-1"}):
                answer = client.open(below + path, method=method, headers=headers)
                assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")
        assert client.get(PROJECT + path).status_code == (200 if replaced else 404)

    @pytest.mark.parametrize(
        "digits", ["", "0123", TAG[1:16], TAG[1:18], TAG[1:17].upper(), "0123456789abcdeg"]
    )
    def test_no_digest(self, client: FlaskClient, store: MemoryStore, digits: str) -> None:
        """Anything but sixteen digits in lower case isn't an address of a file."""
        for path in (WHEEL, f"{WHEEL}.metadata"):
            assert client.get(f"{PROJECT}+{digits}/{path}").status_code in {400, 404}
        assert store.calls == []

    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    @pytest.mark.parametrize("target", [WHEEL, f"{WHEEL}.metadata", "1.0"])
    def test_for_reading(
        self, client: FlaskClient, store: MemoryStore, below: str, method: str, target: str
    ) -> None:
        """Yanks and deletes name a file, not its content. The message says what was expected."""
        answer = client.open(below + target, method=method, json={"yanked": True})
        assert (answer.status_code, "expected" in answer.text) == (405, True)
        assert store.calls == []

    def test_digest_does_not_replace_access(
        self, client: FlaskClient, store: MemoryStore, below: str
    ) -> None:
        """The registry decides who may read."""
        store.password = "secret"
        answer = client.get(below + WHEEL, headers={"If-None-Match": TAG})
        assert (answer.status_code, answer.headers["Cache-Control"]) == (401, "no-store")


class TestYank:
    """PATCH."""

    @pytest.mark.parametrize(
        ("yanked", "reason", "text"),
        [
            pytest.param(True, "", "is yanked", id="without a reason"),
            pytest.param(" broken <b> \u2603 ", "broken <b> \u2603", "is yanked", id="with a reason"),
            pytest.param(False, None, "is no longer yanked", id="taken back"),
        ],
    )
    @pytest.mark.parametrize("target", [WHEEL, "1.0"])
    def test_yank(
        self,
        client: FlaskClient,
        store: MemoryStore,
        target: str,
        yanked: object,
        reason: str | None,
        text: str,
    ) -> None:
        """Yank a file or a version, with or without a reason, and take it back."""
        answer = client.patch(PROJECT + target, data=json.dumps({"yanked": yanked}))
        assert (answer.status_code, answer.text) == (200, f"{target} {text}")
        assert store.calls[-1][3:] == (target, reason)

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            pytest.param(b"", 400, id="empty"),
            pytest.param(b"yanked", 400, id="not JSON"),
            pytest.param(b"\xff", 400, id="not UTF-8"),
            pytest.param(b"[]", 400, id="a list"),
            pytest.param(b"{}", 400, id="nothing in it"),
            pytest.param(b'{"yanked": null}', 400, id="null"),
            pytest.param(b'{"yanked": 1}', 400, id="a number"),
            pytest.param(b'{"yanked": ""}', 400, id="an empty reason"),
            pytest.param(b'{"yanked": " "}', 400, id="a blank reason"),
            pytest.param(b'{"yanked": "a\\nb"}', 400, id="two lines"),
            pytest.param(b'{"yanked": "a\\u0000b"}', 400, id="NUL"),
            pytest.param(b'{"yanked": "\\ud800"}', 400, id="half a surrogate pair"),
            pytest.param(json.dumps({"yanked": "x" * 1001}).encode(), 400, id="long reason"),
            pytest.param(b'{"yanked": true, "reason": "x"}', 400, id="a key too many"),
            pytest.param(b"[" * 60_000, 400, id="deep"),
            pytest.param(b'{"yanked": true}' + b" " * 65_536, 413, id="over 64 KiB"),
        ],
    )
    def test_bad_bodies(self, client: FlaskClient, store: MemoryStore, body: bytes, status: int) -> None:
        """They are refused with what was expected, and nothing is yanked."""
        answer = client.patch(PROJECT + WHEEL, data=body)
        assert answer.status_code == status
        assert "expected" in answer.text or "limit" in answer.text
        assert store.calls == []


class TestDelete:
    """DELETE."""

    @pytest.mark.parametrize("target", [WHEEL, "1.0"])
    def test_delete(self, client: FlaskClient, store: MemoryStore, target: str) -> None:
        """A file or a version is deleted, and a short text confirms it."""
        answer = client.delete(PROJECT + target)
        assert (answer.status_code, answer.text) == (200, f"{target} is deleted")
        assert client.get(PROJECT + WHEEL).status_code == 404

    def test_absent(self, client: FlaskClient) -> None:
        """What doesn't exist can't be deleted."""
        assert client.delete(f"{PROJECT}9.0").status_code == 404

    @pytest.mark.parametrize("method", ["DELETE", "PATCH"])
    @pytest.mark.parametrize("path", ["/ghcr.io/acme/hello-world/", "/ghcr.io/acme/", "/ghcr.io/acme/1.0/"])
    def test_not_a_page(self, client: FlaskClient, store: MemoryStore, method: str, path: str) -> None:
        """An address with a final slash is a page, and is never deleted by mistake."""
        answer = client.open(path, method=method, data=b'{"yanked": true}')
        expected = {405} if method == "DELETE" else {400, 404}
        assert answer.status_code in expected
        assert store.calls == []
        if method == "DELETE":
            assert {"GET", "HEAD", "POST", "PATCH"} <= set(answer.headers["Allow"].split(", "))

    def test_needs_a_project(self, client: FlaskClient, store: MemoryStore) -> None:
        """A namespace can't be deleted."""
        assert client.delete("/ghcr.io/acme/1.0").status_code == 404
        assert store.calls == []
