"""Blobs that are uploaded while they arrive: in one attempt."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import responses

from pyoci.errors import Denied, InvalidRequest, PyOCIError, TooLarge, Unauthorized
from pyoci.oci.models import IMAGE_INDEX, Document
from pyoci.oci.session import OCISession
from tests.oci.conftest import BASE, INDEX_BODY, REPOSITORY, TAG, TOKENS, MakeSession, bearer, sha256, trips

BLOB = b"0123456789" * 100
DIGEST = sha256(BLOB)
BLOB_URL = f"{BASE}/blobs/{DIGEST}"
UPLOADS = f"{BASE}/blobs/uploads/"


class Arriving:
    """A body that can be read once, and records whether it was."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = list(pieces or (BLOB,))
        self.read = False

    def __len__(self) -> int:
        return len(BLOB)

    def __iter__(self) -> Iterator[bytes]:
        assert not self.read
        self.read = True
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def expect(answers: responses.RequestsMock, put: Any, headers: dict[str, str] | None = None) -> list[bytes]:
    """A registry that accepts the upload, and gives this answer to its PUT. Returns the
    bodies that it got.
    """
    bodies: list[bytes] = []
    answers.head(BLOB_URL, status=404)
    answers.post(UPLOADS, status=202, headers={"Location": f"{UPLOADS}1"})

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        bodies.append(b"".join(request.body))
        if isinstance(put, Exception):
            raise put
        return put, headers or {}, ""

    answers.add_callback("PUT", f"{UPLOADS}1", answer)
    return bodies


def test_body_is_sent_while_it_arrives(answers: responses.RequestsMock, session: OCISession) -> None:
    """With its length, in one POST and one PUT."""
    bodies = expect(answers, 201)
    assert session.stream_blob(REPOSITORY, Arriving(BLOB[:300], BLOB[300:]), DIGEST)
    assert bodies == [BLOB]
    assert answers.calls[-1].request.headers["Content-Length"] == str(len(BLOB))


def test_nothing_is_read_for_a_blob_that_is_there(
    answers: responses.RequestsMock, session: OCISession
) -> None:
    """A HEAD request is enough. The caller reads its body to the end."""
    answers.head(BLOB_URL, headers={"Content-Length": str(len(BLOB))})
    body = Arriving()
    assert session.stream_blob(REPOSITORY, body, DIGEST)
    assert not body.read


@pytest.mark.parametrize("put", [500, 503, 404, ConnectionError("reset"), TimeoutError("stalled")])
def test_broken_upload_returns_false(
    answers: responses.RequestsMock, session: OCISession, put: int | Exception
) -> None:
    """It isn't repeated here, because the body can't be read again."""
    expect(answers, put)
    assert not session.stream_blob(REPOSITORY, Arriving(), DIGEST)
    assert trips(answers).count("PUT /blobs/uploads/1") == 1


def test_upload_with_an_expired_token_returns_false(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """GitLab's tokens are valid for five minutes; another upload gets a new one."""
    answers.get(TOKENS, json={"token": "abc"})
    expect(answers, 401, bearer())
    assert not make_session(publishing=True).stream_blob(REPOSITORY, Arriving(), DIGEST)


@pytest.mark.parametrize(("status", "kind"), [(400, InvalidRequest), (403, Denied), (413, TooLarge)])
def test_a_refusal_is_raised(
    answers: responses.RequestsMock, session: OCISession, status: int, kind: type[PyOCIError]
) -> None:
    """Another upload would meet the same."""
    expect(answers, status)
    with pytest.raises(kind, match="upload a blob"):
        session.stream_blob(REPOSITORY, Arriving(), DIGEST)


def test_the_same_blob_is_uploaded_at_the_same_time(
    answers: responses.RequestsMock, session: OCISession
) -> None:
    """docker-registry 2.8 refuses one of the two: the caller pushes its copy, which is repeated as well."""
    refusal = {"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}
    answers.head(BLOB_URL, status=404)
    answers.post(UPLOADS, status=202, headers={"Location": f"{UPLOADS}1"})
    for _ in range(2):
        answers.put(f"{UPLOADS}1", status=400, json=refusal)
    answers.put(f"{UPLOADS}1", status=201)
    assert not session.stream_blob(REPOSITORY, Arriving(), DIGEST)
    session.push_blob(REPOSITORY, io.BytesIO(BLOB), len(BLOB), DIGEST)


def test_manifest_of_a_blob_that_somebody_else_uploads(
    answers: responses.RequestsMock, session: OCISession
) -> None:
    """docker-registry 2.8 lacks the blob for a moment: the manifest is sent again. A tag is not, because
    somebody else may have written it meanwhile.
    """
    refusal = {"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}]}
    document = Document(IMAGE_INDEX, INDEX_BODY)
    url = f"{BASE}/manifests/{document.digest}"
    for _ in range(2):
        answers.put(url, status=400, json=refusal)
    answers.put(url, status=201)
    session.push(REPOSITORY, document.digest, document)
    answers.put(f"{BASE}/manifests/1.0", status=400, json=refusal)
    with pytest.raises(InvalidRequest, match="blob unknown"):
        session.push(REPOSITORY, TAG, document)
    assert trips(answers).count("PUT /manifests/1.0") == 1


def test_a_registry_that_wants_no_upload_gets_no_body(
    answers: responses.RequestsMock, session: OCISession
) -> None:
    """A caller who may not write gets the error before a byte is sent."""
    answers.head(BLOB_URL, status=404)
    answers.post(UPLOADS, status=401)
    body = Arriving()
    with pytest.raises(Unauthorized):
        session.stream_blob(REPOSITORY, body, DIGEST)
    assert not body.read


@pytest.mark.parametrize("failure", [InvalidRequest("the client left"), OSError(28, "full")])
def test_exception_of_a_body_is_raised(
    answers: responses.RequestsMock, session: OCISession, failure: Exception
) -> None:
    """It doesn't count as a failed upload."""
    expect(answers, 201)
    with pytest.raises(type(failure)) as caught:
        session.stream_blob(REPOSITORY, Arriving(BLOB[:10], failure), DIGEST)
    assert caught.value is failure


def make_jwt(*actions: str) -> str:
    """A token that lists its rights, like those of docker-registry."""
    access = [{"type": "repository", "name": REPOSITORY.name, "actions": actions}]
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, {"access": access}))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "signature"])


class TestTheRightToPush:
    """It is checked before a caller waits for a tag."""

    def test_an_upload_is_begun_and_cancelled(
        self, answers: responses.RequestsMock, session: OCISession
    ) -> None:
        answers.post(UPLOADS, status=202, headers={"Location": f"{UPLOADS}1"})
        answers.delete(f"{UPLOADS}1", status=204)
        session.check_push(REPOSITORY)
        assert trips(answers) == ["POST /blobs/uploads/", "DELETE /blobs/uploads/1"]

    @pytest.mark.parametrize("status", [401, 404, 405, 500])
    def test_a_registry_need_not_cancel_it(
        self, answers: responses.RequestsMock, session: OCISession, status: int
    ) -> None:
        answers.post(UPLOADS, status=202, headers={"Location": f"{UPLOADS}1"})
        answers.delete(f"{UPLOADS}1", status=status)
        session.check_push(REPOSITORY)

    def test_a_refusal_is_raised(self, answers: responses.RequestsMock, session: OCISession) -> None:
        """Before the caller waits for a tag."""
        answers.post(UPLOADS, status=403)
        with pytest.raises(Denied):
            session.check_push(REPOSITORY)

    @pytest.mark.parametrize(("actions", "asked"), [(("pull", "push"), 1), (("*",), 1), (("pull",), 2)])
    def test_token_that_lists_the_right_is_enough(
        self,
        answers: responses.RequestsMock,
        make_session: MakeSession,
        actions: tuple[str, ...],
        asked: int,
    ) -> None:
        """For any other token the registry is asked, and its refusal is raised."""
        answers.get(TOKENS, json={"token": make_jwt(*actions)})
        answers.post(UPLOADS, status=401, headers=bearer("repository:acme/hello_world:pull,push"))
        answers.post(UPLOADS, status=202, headers={"Location": f"{UPLOADS}1"})
        answers.delete(f"{UPLOADS}1", status=204)
        session = make_session(publishing=True)
        session.check_push(REPOSITORY)
        answers.post(UPLOADS, status=202, headers={"Location": f"{UPLOADS}1"})
        session.check_push(REPOSITORY)
        assert trips(answers).count("DELETE /blobs/uploads/1") == asked
