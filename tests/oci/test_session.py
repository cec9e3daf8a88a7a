"""Sessions, with answers that no real registry can be made to give."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import responses

from pyoci.errors import (
    Denied,
    InvalidRequest,
    NotFound,
    NotSupported,
    ProtocolError,
    PyOCIError,
    TooLarge,
    Unauthorized,
    Unreachable,
)
from pyoci.net.transport import DOCUMENT_LIMIT
from pyoci.oci.credentials import Anonymous
from pyoci.oci.errors import RegistryError, RegistryNotFound
from pyoci.oci.models import IMAGE_INDEX, IMAGE_MANIFEST, Document
from pyoci.oci.quirks import ACCEPT
from pyoci.oci.references import Digest
from pyoci.oci.session import READ_SECONDS, SMALL_DOCUMENT, OCISession
from tests.clock import Clock
from tests.oci.conftest import (
    BASE,
    INDEX_BODY,
    REPOSITORY,
    SOMEBODY,
    TAG,
    TOKENS,
    MakeSession,
    bearer,
    sent,
    sha256,
    trips,
)

MANIFEST_URL = f"{BASE}/manifests/1.0"
UPLOADS = f"{BASE}/blobs/uploads/"
BLOB = b"0123456789" * 100
DIGEST = sha256(BLOB)
BLOB_URL = f"{BASE}/blobs/{DIGEST}"
INDEX_TYPE = {"Content-Type": IMAGE_INDEX}


def push(session: OCISession) -> None:
    session.push_blob(REPOSITORY, io.BytesIO(BLOB), len(BLOB), DIGEST)


class TestPull:
    def test_a_document_is_read(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """Its bytes are unchanged, its media type has no parameters, and Accept names every type."""
        answers.get(MANIFEST_URL, body=INDEX_BODY, content_type=f"{IMAGE_INDEX}; charset=utf-8")
        document = session.pull(REPOSITORY, TAG)
        assert (document.media_type, document.body) == (IMAGE_INDEX, INDEX_BODY)
        assert answers.calls[0].request.headers["Accept"] == ACCEPT

    @pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "text/plain", ""])
    def test_type_is_read_from_the_document(
        self, answers: responses.RequestsMock, session: OCISession, kind: str
    ) -> None:
        """Static hosts send a general Content-Type; the document has its own mediaType."""
        answers.get(MANIFEST_URL, body=INDEX_BODY, content_type=kind)
        assert session.pull(REPOSITORY, TAG).media_type == IMAGE_INDEX

    def test_what_was_read_of_a_large_document_is_dropped(
        self, answers: responses.RequestsMock, session: OCISession
    ) -> None:
        """It is read again when it is its turn. Hundreds of threads may wait for theirs."""
        body = json.dumps({"manifests": ["x" * 3 * SMALL_DOCUMENT]}).encode()
        answers.get(MANIFEST_URL, body=body, content_type=IMAGE_INDEX)
        kept = []

        @contextmanager
        def turn() -> Iterator[None]:
            kept.append(tracemalloc.get_traced_memory()[0])
            yield

        session.large = turn
        session.pull(REPOSITORY, TAG)  # what is made by the first request is kept
        tracemalloc.start()
        try:
            assert session.pull(REPOSITORY, TAG).body == body
        finally:
            tracemalloc.stop()
        assert kept[1] < SMALL_DOCUMENT // 2

    @pytest.mark.parametrize("body", [b"[]", b'{"mediaType": 1}', b"{}"])
    def test_document_without_type_has_an_empty_type(
        self, answers: responses.RequestsMock, session: OCISession, body: bytes
    ) -> None:
        """Foreign content is skipped; it isn't an error."""
        answers.get(MANIFEST_URL, body=body, content_type="application/json")
        assert session.pull(REPOSITORY, TAG).image_index() is None

    @pytest.mark.parametrize("kind", ["text/html", "TEXT/HTML; charset=utf-8", "application/xhtml+xml"])
    def test_html_is_a_protocol_error(
        self, answers: responses.RequestsMock, session: OCISession, kind: str
    ) -> None:
        """Such as a proxy's sign-in page with a 200."""
        answers.get(MANIFEST_URL, body=b"<html>sign in</html>", content_type=kind)
        with pytest.raises(ProtocolError, match="html"):
            session.pull(REPOSITORY, TAG)

    def test_content_that_is_not_json_is_a_protocol_error(
        self, answers: responses.RequestsMock, session: OCISession
    ) -> None:
        """If its Content-Type is missing or general."""
        answers.get(MANIFEST_URL, body=b"<html>sign in</html>", content_type="text/plain")
        with pytest.raises(ProtocolError, match="not JSON"):
            session.pull(REPOSITORY, TAG)

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_a_digest_has_to_match(
        self, answers: responses.RequestsMock, session: OCISession, algorithm: str
    ) -> None:
        """A document that was requested by its digest must have that digest."""
        right = Digest(algorithm, hashlib.new(algorithm, INDEX_BODY).hexdigest())
        wrong = Digest(algorithm, hashlib.new(algorithm, b"other").hexdigest())
        for digest in (right, wrong):
            answers.get(f"{BASE}/manifests/{digest}", body=INDEX_BODY, headers=INDEX_TYPE)
        assert session.pull(REPOSITORY, right).digest == sha256(INDEX_BODY)
        with pytest.raises(ProtocolError, match="bytes that don't match"):
            session.pull(REPOSITORY, wrong)

    @pytest.mark.parametrize(
        ("header", "good"),
        [
            (str(sha256(INDEX_BODY)), True),
            (f" {sha256(INDEX_BODY)} ", True),
            (f"sha512:{hashlib.sha512(INDEX_BODY).hexdigest()}", True),
            ("blake3:abc", True),
            ("", True),
            (str(sha256(b"other")), False),
            ("sha256:", False),
            ("sha256:" + "x" * 5000, False),
        ],
    )
    def test_the_named_digest_has_to_match(
        self, answers: responses.RequestsMock, session: OCISession, header: str, good: bool
    ) -> None:
        """Docker-Content-Digest is compared if its algorithm is known."""
        answers.get(MANIFEST_URL, body=INDEX_BODY, headers=INDEX_TYPE | {"Docker-Content-Digest": header})
        if good:
            session.pull(REPOSITORY, TAG)
        else:
            with pytest.raises(ProtocolError, match="bytes that don't match") as caught:
                session.pull(REPOSITORY, TAG)
            assert len(caught.value.message) < 200

    def test_a_document_has_a_limit(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """Four MiB, like in registries."""
        answers.get(MANIFEST_URL, body=b" " * (DOCUMENT_LIMIT + 1), headers=INDEX_TYPE)
        with pytest.raises(ProtocolError, match="more than"):
            session.pull(REPOSITORY, TAG)

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(404, NotFound), (401, Unauthorized), (403, Denied), (400, InvalidRequest), (307, ProtocolError)],
    )
    def test_a_refusal_has_its_kind(
        self, answers: responses.RequestsMock, session: OCISession, status: int, kind: type[PyOCIError]
    ) -> None:
        """The message says what was requested."""
        answers.get(MANIFEST_URL, status=status, headers={"Location": "https://elsewhere.example/"})
        if status == 404:
            answers.get(
                "https://registry.example/v2/"
            )  # is everybody let in, so that a 404 means what it says?
        with pytest.raises(kind, match=f"answered {status} when asked to read 1.0"):
            session.pull(REPOSITORY, TAG)
        assert [call.request.url for call in answers.calls].count(MANIFEST_URL) == 1

    def test_anonymous_403_is_a_401(self, answers: responses.RequestsMock, anonymous: OCISession) -> None:
        """Clients send credentials only after a 401."""
        answers.get(MANIFEST_URL, status=403)
        with pytest.raises(Unauthorized, match="answered 403"):
            anonymous.pull(REPOSITORY, TAG)


class TestPush:
    document = Document(IMAGE_INDEX, INDEX_BODY)

    @pytest.mark.parametrize("status", [200, 201, 202])
    def test_a_document_is_put(
        self, answers: responses.RequestsMock, session: OCISession, status: int
    ) -> None:
        """Quay has answered 202, others 200."""
        digest = {"Docker-Content-Digest": str(self.document.digest), "Content-Type": "application/json"}
        answers.put(MANIFEST_URL, body=b"{}", status=status, headers=digest)
        session.push(REPOSITORY, TAG, self.document)
        request = answers.calls[0].request
        assert (request.body, request.headers["Content-Type"]) == (INDEX_BODY, IMAGE_INDEX)

    def test_html_after_a_push_is_a_protocol_error(
        self, answers: responses.RequestsMock, session: OCISession
    ) -> None:
        """Google AR may answer 200 with a page."""
        answers.put(MANIFEST_URL, body=b"<html>", content_type="text/html")
        with pytest.raises(ProtocolError, match="html"):
            session.push(REPOSITORY, TAG, self.document)

    def test_another_digest_is_a_lie(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """The registry stored other bytes than it was sent. The header's value is cleaned for the message."""
        answers.put(MANIFEST_URL, status=201, headers={"Docker-Content-Digest": "sha256:" + "x" * 5000})
        with pytest.raises(ProtocolError, match="stored bytes that don't match") as caught:
            session.push(REPOSITORY, TAG, self.document)
        assert len(caught.value.message) < 300

    def test_an_immutable_tag_refuses(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """Quay's 409 isn't passed on as a 409: poetry would treat the file as uploaded."""
        answers.put(MANIFEST_URL, status=409)
        with pytest.raises(Denied):
            session.push(REPOSITORY, TAG, self.document)


class TestDelete:
    @pytest.mark.parametrize("status", [200, 202, 204])
    def test_a_tag_is_deleted(
        self, answers: responses.RequestsMock, session: OCISession, status: int
    ) -> None:
        """Registries confirm a delete with three statuses."""
        answers.delete(MANIFEST_URL, status=status)
        session.delete(REPOSITORY, TAG)

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            pytest.param(400, "UNSUPPORTED", NotSupported, id="docker-registry 2.8.2, tag"),
            pytest.param(400, "DIGEST_INVALID", InvalidRequest, id="Harbor and Pulp, tag"),
            pytest.param(405, "UNSUPPORTED", NotSupported, id="ghcr.io, Docker Hub"),
            pytest.param(405, "", NotSupported, id="zot, child of an image index"),
            pytest.param(412, "PRECONDITION", Denied, id="Harbor, child of an image index"),
            pytest.param(400, "MANIFEST_TAGGED", InvalidRequest, id="Google AR, still tagged"),
            pytest.param(404, "MANIFEST_UNKNOWN", NotFound, id="gone already"),
        ],
    )
    def test_a_refusal_has_its_kind(
        self,
        answers: responses.RequestsMock,
        session: OCISession,
        status: int,
        code: str,
        kind: type[PyOCIError],
    ) -> None:
        """The store then tries the next way to delete."""
        answers.delete(MANIFEST_URL, json={"errors": [{"code": code}]}, status=status)
        with pytest.raises(kind) as caught:
            session.delete(REPOSITORY, TAG)
        assert isinstance(caught.value, RegistryError)


class TestBlobSize:
    @pytest.mark.parametrize("size", [0, 1000])
    def test_head_has_the_size(self, answers: responses.RequestsMock, session: OCISession, size: int) -> None:
        """One request, without a body."""
        answers.head(BLOB_URL, headers={"Content-Length": str(size)})
        assert session.blob_size(REPOSITORY, DIGEST) == size

    def test_404_is_absent(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """It isn't an error."""
        answers.head(BLOB_URL, status=404)
        assert session.blob_size(REPOSITORY, DIGEST) is None

    @pytest.mark.parametrize("head", [307, 200], ids=["redirect", "without length"])
    @pytest.mark.parametrize(
        ("status", "headers", "size"),
        [
            (206, {"Content-Range": "bytes 0-0/1000"}, 1000),
            (200, {"Content-Length": "1000"}, 1000),
            (404, {}, None),
        ],
    )
    def test_size_comes_from_a_range_if_head_fails(
        self,
        answers: responses.RequestsMock,
        session: OCISession,
        head: int,
        status: int,
        headers: dict[str, str],
        size: int | None,
    ) -> None:
        """A URL that is signed for GET refuses HEAD. One byte is requested, and
        Content-Range has the size.
        """
        storage = "https://storage.example/blob"
        answers.head(BLOB_URL, status=head, headers={"Location": storage})
        answers.get(BLOB_URL, status=307, headers={"Location": storage})
        answers.get(storage, body=b"0" if status == 206 else b"0" * 1000, status=status, headers=headers)
        assert session.blob_size(REPOSITORY, DIGEST) == size
        assert answers.calls[-1].request.headers["Range"] == "bytes=0-0"

    @pytest.mark.parametrize("header", ["", "bytes */*", "bytes 0-0/*", "items 0-0/5", "bytes 0-0/x"])
    def test_an_unknown_size_is_a_protocol_error(
        self, answers: responses.RequestsMock, session: OCISession, header: str
    ) -> None:
        """A page must not show a wrong size."""
        answers.head(BLOB_URL, status=307, headers={"Location": "/elsewhere"})
        answers.get(BLOB_URL, body=b"0", status=206, headers={"Content-Range": header})
        with pytest.raises(ProtocolError):
            session.blob_size(REPOSITORY, DIGEST)

    def test_refusal_is_raised(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """The blob doesn't count as absent."""
        answers.head(BLOB_URL, status=403)
        with pytest.raises(Denied):
            session.blob_size(REPOSITORY, DIGEST)


class TestBlobs:
    def test_a_blob_is_read(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """The whole blob is verified."""
        answers.get(BLOB_URL, body=BLOB, auto_calculate_content_length=True)
        blob = session.open_blob(REPOSITORY, DIGEST)
        assert (blob.size, b"".join(blob.pieces)) == (len(BLOB), BLOB)

    def test_a_blob_may_have_no_length(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """It is still verified."""
        answers.get(BLOB_URL, body=BLOB)
        blob = session.open_blob(REPOSITORY, DIGEST)
        assert (blob.size, b"".join(blob.pieces)) == (None, BLOB)

    @pytest.mark.parametrize("body", [b"", BLOB[:-1], BLOB + b"x", BLOB[:-1] + b"x"])
    def test_wrong_bytes_are_never_complete(
        self, answers: responses.RequestsMock, session: OCISession, body: bytes
    ) -> None:
        """The last piece is held back until the digest is known."""
        answers.get(BLOB_URL, body=body)
        passed: list[bytes] = []
        with pytest.raises(ProtocolError, match="bytes that don't match"):
            passed.extend(session.open_blob(REPOSITORY, DIGEST).pieces)
        assert passed == []

    def test_wrong_bytes_are_passed_on_without_the_last_piece(
        self, answers: responses.RequestsMock, session: OCISession
    ) -> None:
        """All pieces but the last are passed on while the digest is computed."""
        body = bytes(3 * 1024 * 1024 + 5)
        answers.get(f"{BASE}/blobs/{sha256(b'')}", body=body)
        passed: list[bytes] = []
        with pytest.raises(ProtocolError):
            passed.extend(session.open_blob(REPOSITORY, sha256(b"")).pieces)
        assert 2 * 1024 * 1024 <= sum(map(len, passed)) < len(body)

    def test_an_empty_blob_is_read(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """There is no piece to hold back."""
        answers.get(f"{BASE}/blobs/{sha256(b'')}", body=b"")
        assert list(session.open_blob(REPOSITORY, sha256(b"")).pieces) == []

    @pytest.mark.parametrize(
        ("status", "body", "headers"),
        [
            pytest.param(206, BLOB[10:30], {"Content-Range": "bytes 10-29/1000"}, id="range"),
            pytest.param(206, BLOB[10:30], {"Content-Range": "bytes 10-29/*"}, id="range, size unknown"),
            pytest.param(206, BLOB[10:99], {"Content-Range": "bytes 10-98/1000"}, id="more than asked"),
            pytest.param(200, BLOB, {}, id="a registry without ranges"),
        ],
    )
    def test_a_span_is_cut_out(
        self,
        answers: responses.RequestsMock,
        session: OCISession,
        status: int,
        body: bytes,
        headers: dict[str, str],
    ) -> None:
        """These bytes are returned, however the registry handles Range."""
        answers.get(BLOB_URL, body=body, status=status, headers=headers)
        blob = session.open_blob(REPOSITORY, DIGEST, range(10, 30))
        assert b"".join(blob.pieces) == BLOB[10:30]
        assert answers.calls[0].request.headers["Range"] == "bytes=10-29"

    @pytest.mark.parametrize(
        ("status", "body", "headers"),
        [
            pytest.param(206, BLOB[:20], {"Content-Range": "bytes 0-19/1000"}, id="another range"),
            pytest.param(206, BLOB[10:30], {}, id="no Content-Range"),
            pytest.param(206, BLOB[10:30], {"Content-Range": "bytes 10-x/1000"}, id="senseless"),
            pytest.param(206, BLOB[10:20], {"Content-Range": "bytes 10-19/1000"}, id="less than asked"),
            pytest.param(200, BLOB[:20], {}, id="half a blob"),
        ],
    )
    def test_another_span_is_a_protocol_error(
        self,
        answers: responses.RequestsMock,
        session: OCISession,
        status: int,
        body: bytes,
        headers: dict[str, str],
    ) -> None:
        """Other bytes would be taken for the requested ones."""
        answers.get(BLOB_URL, body=body, status=status, headers=headers)
        with pytest.raises(ProtocolError):
            b"".join(session.open_blob(REPOSITORY, DIGEST, range(10, 30)).pieces)

    @pytest.mark.parametrize(
        ("status", "kind"), [(404, NotFound), (401, Unauthorized), (403, Denied), (416, InvalidRequest)]
    )
    def test_a_refusal_has_its_kind(
        self, answers: responses.RequestsMock, session: OCISession, status: int, kind: type[PyOCIError]
    ) -> None:
        """The message has the registry's text."""
        answers.get(BLOB_URL, json={"errors": [{"code": "X", "message": "words"}]}, status=status)
        expected = "$" if status == 416 else ": words$"
        with pytest.raises(kind, match=expected):
            session.open_blob(REPOSITORY, DIGEST, range(10))

    def test_blob_can_be_closed(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """Before it is read, or in the middle."""
        answers.get(BLOB_URL, body=BLOB)
        session.open_blob(REPOSITORY, DIGEST).close()
        session.open_blob(REPOSITORY, DIGEST, range(5)).close()


class Uploads:
    """A registry that accepts one POST and one PUT for each upload. It gives these answers to the PUTs."""

    def __init__(self, answers: responses.RequestsMock, *puts: Any, there: int = 404) -> None:
        self.puts, self.bodies, self.urls = list(puts), list[bytes](), list[str]()
        self.posts = 0
        answers.head(BLOB_URL, status=there, headers={"Content-Length": str(len(BLOB))})
        answers.add_callback("POST", UPLOADS, self.post)
        for number in range(1, 5):
            answers.add_callback("PUT", f"{UPLOADS}{number}", self.put)

    def post(self, _request: Any) -> tuple[int, dict[str, str], str]:
        self.posts += 1
        return 202, {"Location": f"{UPLOADS}{self.posts}?_state=a%2Bb%3D="}, ""

    def put(self, request: Any) -> tuple[int, dict[str, str], str]:
        self.urls.append(request.url)
        self.bodies.append(b"".join(request.body))
        found = self.puts.pop(0)
        if isinstance(found, Exception):
            raise found
        status, headers = found if isinstance(found, tuple) else (found, {})
        return status, headers, ""


class TestPushBlob:
    def test_one_post_and_one_put(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """Without PATCH or chunks. The Location's query is kept, and the digest is appended."""
        uploads = Uploads(answers, (201, {"Docker-Content-Digest": str(DIGEST)}))
        push(session)
        assert [call.request.method for call in answers.calls] == ["HEAD", "POST", "PUT"]
        assert uploads.bodies == [BLOB]
        put = answers.calls[-1].request
        assert put.headers["Content-Length"] == str(len(BLOB))
        assert put.headers["Content-Type"] == "application/octet-stream"
        assert put.url == f"{UPLOADS}1?_state=a%2Bb%3D=&digest=sha256%3A{DIGEST.hex}"

    def test_a_blob_that_is_there_is_not_sent(
        self, answers: responses.RequestsMock, session: OCISession
    ) -> None:
        """A HEAD request is enough."""
        Uploads(answers, there=200)
        push(session)
        assert len(answers.calls) == 1

    @pytest.mark.parametrize("there", [401, 403, 404])
    def test_a_repository_that_does_not_exist_is_written(
        self, answers: responses.RequestsMock, session: OCISession, there: int
    ) -> None:
        """Docker Hub answers 401 for everything absent, others 403 or 404. The answer to the push decides."""
        uploads = Uploads(answers, 201, there=there)
        push(session)
        assert uploads.bodies == [BLOB]

    @pytest.mark.parametrize(
        ("location", "put"),
        [
            (f"{UPLOADS}1", f"{UPLOADS}1?digest="),
            ("/v2/acme/hello_world/blobs/uploads/1?a=b", f"{UPLOADS}1?a=b&digest="),
            ("1?a=b", f"{UPLOADS}1?a=b&digest="),
            ("http://registry.example/v2/acme/hello_world/blobs/uploads/1", f"{UPLOADS}1?digest="),
            ("http://registry.example:5000/v2/acme/hello_world/blobs/uploads/1", f"{UPLOADS}1?digest="),
            ("//registry.example/v2/acme/hello_world/blobs/uploads/1", f"{UPLOADS}1?digest="),
            ("https://REGISTRY.example:443/v2/acme/hello_world/blobs/uploads/1#x", f"{UPLOADS}1?digest="),
            ("https://storage.example/u?sig=a%2Fb", "https://storage.example/u?sig=a%2Fb&digest="),
        ],
    )
    def test_a_location_is_followed(
        self, answers: responses.RequestsMock, session: OCISession, location: str, put: str
    ) -> None:
        """Relative (Gitea) or absolute, with http behind a proxy that terminates TLS, or at another host."""
        answers.head(BLOB_URL, status=404)
        answers.post(UPLOADS, status=202, headers={"Location": location})
        answers.put(put.partition("?")[0], status=201)
        push(session)
        assert str(answers.calls[-1].request.url).startswith(put)

    def test_credentials_stay_with_the_registry(
        self, answers: responses.RequestsMock, session: OCISession
    ) -> None:
        """They aren't sent to another origin."""
        answers.head(BLOB_URL, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        answers.head(BLOB_URL, status=404)
        answers.post(UPLOADS, status=202, headers={"Location": "https://storage.example/u"})
        answers.put("https://storage.example/u", status=201)
        push(session)
        assert sent(answers) == [None, SOMEBODY.header(), SOMEBODY.header(), None]

    @pytest.mark.parametrize(
        "header", [{}, {"Location": ""}, {"Location": "ftp://x/"}, {"Location": "http://o/"}]
    )
    def test_unusable_location_is_a_protocol_error(
        self, answers: responses.RequestsMock, session: OCISession, header: dict[str, str]
    ) -> None:
        """Nothing is sent to it."""
        answers.head(BLOB_URL, status=404)
        answers.post(UPLOADS, status=202, headers=header)
        with pytest.raises(ProtocolError, match="Location"):
            push(session)

    @pytest.mark.parametrize(
        "failure",
        [
            pytest.param(requests.ConnectionError(), id="connection lost"),
            pytest.param(requests.ReadTimeout(), id="no answer"),
            pytest.param(404, id="upload session gone"),
            pytest.param(500, id="busy"),
            pytest.param(503, id="busier"),
            pytest.param(504, id="gateway timeout"),
            pytest.param(200, id="no yes"),
        ],
    )
    def test_broken_upload_is_repeated(
        self, answers: responses.RequestsMock, session: OCISession, clock: Clock, failure: Any
    ) -> None:
        """With a new POST, from the first byte, after a pause."""
        uploads = Uploads(answers, failure, failure, 201)
        push(session)
        assert uploads.posts == 3
        assert uploads.bodies == [BLOB] * 3
        assert clock.slept == [0.2, 0.4]

    def test_upload_has_three_attempts(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """Then the failure is raised."""
        uploads = Uploads(answers, *[requests.ConnectionError()] * 4)
        with pytest.raises(Unreachable):
            push(session)
        assert uploads.posts == 3

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(400, InvalidRequest), (401, Unauthorized), (403, Denied), (413, TooLarge), (405, NotSupported)],
    )
    def test_a_refused_upload_is_not_repeated(
        self, answers: responses.RequestsMock, session: OCISession, status: int, kind: type[PyOCIError]
    ) -> None:
        """After a wrong digest, missing rights or a limit, another attempt would not help."""
        uploads = Uploads(answers, status)
        with pytest.raises(kind, match=f"answered {status} when asked to upload a blob"):
            push(session)
        assert uploads.posts == 1

    def test_another_digest_is_a_lie(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """The digest that the registry reports is compared."""
        Uploads(answers, (201, {"Docker-Content-Digest": str(sha256(b"other"))}))
        with pytest.raises(ProtocolError, match="stored"):
            push(session)

    @pytest.mark.parametrize("status", [404, 403, 401, 400, 405])
    def test_an_upload_that_may_not_start_is_refused(
        self, answers: responses.RequestsMock, session: OCISession, status: int
    ) -> None:
        """By the answer to the POST; no byte of the file is sent."""
        answers.head(BLOB_URL, status=404)
        answers.post(UPLOADS, status=status)
        with pytest.raises(RegistryError, match="start an upload"):
            push(session)

    def test_ecr_wants_the_repository_first(
        self, answers: responses.RequestsMock, session: OCISession
    ) -> None:
        """Unless create-on-push is on. The message says what to do."""
        answers.head(BLOB_URL, status=404)
        body = {"errors": [{"code": "NAME_UNKNOWN", "message": "The repository does not exist"}]}
        answers.post(UPLOADS, json=body, status=404)
        with pytest.raises(RegistryNotFound) as caught:
            push(session)
        assert caught.value.message.endswith(
            "does not exist; create registry.example/acme/hello_world there first"
        )

    def test_a_token_that_expires_on_the_way_is_renewed(
        self, answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
    ) -> None:
        """GitLab's is valid for five minutes: the upload begins again with a new token."""
        tokens = iter(["first", "second"])
        answers.add_callback(
            "GET", TOKENS, lambda _: (200, {}, json.dumps({"token": next(tokens), "expires_in": 300}))
        )
        answers.head(BLOB_URL, status=401, headers=bearer())
        answers.head(BLOB_URL, status=404)
        seen: list[tuple[str, str]] = []

        def post(request: Any) -> tuple[int, dict[str, str], str]:
            seen.append(("POST", request.headers["Authorization"]))
            clock.now += 1
            return 202, {"Location": f"{UPLOADS}{len(seen)}"}, ""

        def put(request: Any) -> tuple[int, dict[str, str], str]:
            seen.append(("PUT", request.headers["Authorization"]))
            assert b"".join(request.body) == BLOB
            clock.now += 120
            return (
                (401, bearer(), "") if request.headers["Authorization"] == "Bearer first" else (201, {}, "")
            )

        answers.add_callback("POST", UPLOADS, post)
        answers.add_callback("PUT", f"{UPLOADS}1", put)
        answers.add_callback("PUT", f"{UPLOADS}3", put)
        clock.now += 1
        push(make_session(publishing=True))
        assert seen == [
            ("POST", "Bearer first"),
            ("PUT", "Bearer first"),
            ("POST", "Bearer second"),
            ("PUT", "Bearer second"),
        ]

    def test_a_token_that_is_not_enough_ends(
        self, answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
    ) -> None:
        """If a new token doesn't help, the refusal is passed on as a 401."""
        answers.add_callback("GET", TOKENS, lambda _: (200, {}, json.dumps({"token": f"t{clock.now}"})))
        answers.head(BLOB_URL, status=401, headers=bearer())
        answers.head(BLOB_URL, status=404)

        def post(_request: Any) -> tuple[int, dict[str, str], str]:
            clock.now += 1
            return 202, {"Location": f"{UPLOADS}1"}, ""

        answers.add_callback("POST", UPLOADS, post)

        def put(request: Any) -> tuple[int, dict[str, str], str]:
            b"".join(request.body)
            return 401, bearer(), ""

        answers.add_callback("PUT", f"{UPLOADS}1", put)
        with pytest.raises(Unauthorized, match="upload a blob"):
            push(make_session(publishing=True))
        assert trips(answers).count("PUT /blobs/uploads/1") == 3


class TestLists:
    def test_tags_are_read_page_by_page(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """A relative Link, whose query isn't changed."""
        url = f"{BASE}/tags/list"
        link = {"Link": '</v2/acme/hello_world/tags/list?last=a%2Bb&n=1000>; rel="next"'}
        answers.get(url, json={"tags": ["a"]}, headers=link)
        answers.get(url, json={"tags": ["b"]})
        assert session.tags(REPOSITORY) == ("a", "b")
        assert [call.request.url for call in answers.calls] == [f"{url}?n=1000", f"{url}?last=a%2Bb&n=1000"]

    @pytest.mark.parametrize(
        "link",
        [
            "https://other.example/v2/acme/hello_world/tags/list",
            "https://registry.example:444/v2/x",
            "http://127.0.0.1/",
            "file:///etc/passwd",
            "https://user:pass@registry.example/v2/x",
            "https://[::1",
        ],
    )
    def test_a_link_elsewhere_is_refused(
        self, answers: responses.RequestsMock, session: OCISession, link: str
    ) -> None:
        """A list continues only at the host where it began."""
        answers.get(f"{BASE}/tags/list", json={"tags": ["a"]}, headers={"Link": f'<{link}>; rel="next"'})
        with pytest.raises(ProtocolError):
            session.tags(REPOSITORY)
        assert len(answers.calls) == 1

    def test_repositories_are_read(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """With the scope of the challenge."""
        url = "https://registry.example/v2/_catalog"
        answers.get(url, status=401, headers=bearer("registry:catalog:*"))
        answers.get(url, json={"repositories": ["acme/hello_world", "other"]})
        answers.get(TOKENS, json={"token": "abc"})
        assert session.repositories() == ("acme/hello_world", "other")
        assert "scope=registry%3Acatalog%3A%2A" in str(answers.calls[1].request.url)

    @pytest.mark.parametrize("status", [401, 404, 405])
    def test_no_list_is_a_refusal(
        self, answers: responses.RequestsMock, session: OCISession, status: int
    ) -> None:
        """Most hosted registries don't offer the list."""
        answers.get("https://registry.example/v2/_catalog", status=status)
        with pytest.raises(RegistryError, match="list repositories"):
            session.repositories()


def test_calls_are_logged(
    answers: responses.RequestsMock, make_session: MakeSession, told: list[dict[str, Any]]
) -> None:
    """Method, host, path, status and seconds, with PYOCI_LOG=pyoci.oci=debug; no query and no credentials."""
    Uploads(answers, 201)
    push(make_session())
    assert [(fact["method"], fact["path"], fact["status"]) for fact in told] == [
        ("HEAD", f"/v2/acme/hello_world/blobs/{DIGEST}", 404),
        ("POST", "/v2/acme/hello_world/blobs/uploads/", 202),
        ("PUT", "/v2/acme/hello_world/blobs/uploads/1", 201),
    ]
    assert {fact["level"] for fact in told} == {"debug"}
    assert {fact["host"] for fact in told} == {"registry.example"}
    assert "_state" not in repr(told)
    assert "secret" not in repr(told)


def test_push_sends_the_type_of_the_document(answers: responses.RequestsMock, session: OCISession) -> None:
    """As the Content-Type."""
    body = json.dumps({"schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "layers": []}).encode()
    document = Document(IMAGE_MANIFEST, body)
    answers.put(f"{BASE}/manifests/{document.digest}", status=201)
    session.push(REPOSITORY, document.digest, document)
    assert answers.calls[0].request.headers["Content-Type"] == IMAGE_MANIFEST


def test_anonymous_upload_is_a_401(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """A registry's 403 to an upload without credentials becomes a 401, so clients send them."""
    Uploads(answers, 403)
    with pytest.raises(Unauthorized, match="answered 403"):
        push(make_session(Anonymous(), publishing=True))


def test_a_request_reads_documents_for_a_minute(
    answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
) -> None:
    """However fast each one arrives. A session that publishes has no such limit."""
    answers.get(f"{BASE}/tags/list", json={"name": "acme/hello_world", "tags": ["1.0"]})
    reading, publishing = make_session(), make_session(publishing=True)
    clock.now += READ_SECONDS - 1
    assert reading.tags(REPOSITORY) == ("1.0",)
    clock.now += 2
    with pytest.raises(Unreachable, match="took too long for one request"):
        reading.tags(REPOSITORY)
    assert publishing.tags(REPOSITORY) == ("1.0",)
    assert len(answers.calls) == 2


def test_the_last_call_ends_with_the_minute(
    answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
) -> None:
    """A call that begins late has only the remaining time, and isn't repeated."""
    answers.get(f"{BASE}/tags/list", status=503)
    session = make_session()
    clock.now += READ_SECONDS - 0.05
    with pytest.raises(PyOCIError):
        session.tags(REPOSITORY)
    assert len(answers.calls) == 1
