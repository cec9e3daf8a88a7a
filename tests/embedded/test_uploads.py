"""Pushing blobs in one piece, in chunks and as a stream. Failures leave nothing."""

import errno
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pyoci.embedded import Collected, create_registry_app, remove_expired_uploads
from pyoci.embedded.blobs import UploadLimits
from pyoci.embedded.storage import Disk
from tests.embedded.builders import Wire, code_of, digest_of
from tests.embedded.conftest import Clock, Steps

CONTENT = b"0123456789" * 300
DIGEST = digest_of(CONTENT)
UPLOADS = "/v2/acme/hello/blobs/uploads/"


@pytest.fixture
def location(wire: Wire) -> str:
    """The place of an open upload."""
    return str(wire.http.post(UPLOADS).location)


def leftovers(directory: Path) -> list[Path]:
    """Every file that holds bytes of an upload."""
    return [path for path in directory.rglob("*") if path.is_file() and path.stat().st_size]


def test_an_upload_opens_with_a_relative_location(wire: Wire) -> None:
    """A POST answers 202 with a path, which holds behind any proxy, and the names that docker looks for."""
    response = wire.http.post(UPLOADS)
    assert response.status_code == 202
    assert response.location.startswith("/v2/acme/hello/blobs/uploads/")
    assert response.headers["Docker-Upload-UUID"] == response.location.rpartition("/")[2]
    assert response.headers["Range"] == "0-0"
    assert wire.http.post(UPLOADS.rstrip("/")).status_code == 202


def test_post_then_put(wire: Wire, location: str) -> None:
    """POST and one PUT store a blob; the answer says where it lies."""
    response = wire.http.put(f"{location}?digest={DIGEST}", data=CONTENT)
    assert (response.status_code, response.location) == (201, f"/v2/acme/hello/blobs/{DIGEST}")
    assert response.headers["Docker-Content-Digest"] == DIGEST
    assert "Content-Type" not in response.headers
    assert wire.http.get(response.location).data == CONTENT


def test_post_alone(wire: Wire) -> None:
    """A POST with the digest and the bytes stores a blob at once."""
    response = wire.http.post(f"{UPLOADS}?digest={DIGEST}", data=CONTENT)
    assert (response.status_code, response.location) == (201, f"/v2/acme/hello/blobs/{DIGEST}")
    assert wire.http.get(response.location).data == CONTENT


@pytest.mark.parametrize("last_with_put", [True, False])
def test_chunks_in_order(wire: Wire, location: str, last_with_put: bool) -> None:
    """Chunks arrive one after the other; each answer tells how much is there; the PUT may bring the last."""
    end = 2000 if last_with_put else 3000
    for start in range(0, end, 1000):
        chunk = CONTENT[start : start + 1000]
        headers = {"Content-Range": f"{start}-{start + 999}"}
        response = wire.http.patch(location, data=chunk, headers=headers)
        assert (response.status_code, response.headers["Range"]) == (202, f"0-{start + 999}")
        location = response.location
    status = wire.http.get(location)
    assert (status.status_code, status.headers["Range"], status.location) == (204, f"0-{end - 1}", location)
    last = {"data": CONTENT[2000:], "headers": {"Content-Range": "2000-2999"}} if last_with_put else {}
    response = wire.http.put(f"{location}?digest={DIGEST}", **last)
    assert response.status_code == 201
    assert wire.http.get(response.location).data == CONTENT


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("first", [0, 500, 1001, 2000])
def test_chunks_out_of_order_are_refused(wire: Wire, location: str, method: str, first: int) -> None:
    """A chunk that isn't the next one answers 416 with where to go on; what has arrived stays."""
    wire.http.patch(location, data=CONTENT[:1000], headers={"Content-Range": "0-999"})
    headers = {"Content-Range": f"{first}-{first + 9}"}
    response = wire.http.open(f"{location}?digest={DIGEST}", method=method, data=b"x" * 10, headers=headers)
    assert (response.status_code, code_of(response)) == (416, "BLOB_UPLOAD_INVALID")
    assert (response.location, response.headers["Range"]) == (location, "0-999")
    assert wire.http.put(f"{location}?digest={DIGEST}", data=CONTENT[1000:]).status_code == 201


@pytest.mark.parametrize(
    ("content_range", "code"),
    [
        pytest.param("0-5", "SIZE_INVALID", id="shorter than the chunk"),
        pytest.param("0-99", "SIZE_INVALID", id="longer than the chunk"),
        pytest.param("0--1", "BLOB_UPLOAD_INVALID", id="nonsense"),
        pytest.param("bytes 0-9/x", "BLOB_UPLOAD_INVALID", id="nonsense after a unit"),
    ],
)
def test_a_wrong_content_range_is_refused(wire: Wire, location: str, content_range: str, code: str) -> None:
    """A Content-Range that isn't one, or isn't the chunk's, answers 400, and the chunk is not kept."""
    response = wire.http.patch(location, data=b"x" * 10, headers={"Content-Range": content_range})
    assert (response.status_code, code_of(response)) == (400, code)
    assert wire.http.get(location).headers["Range"] == "0-0"


def test_a_content_range_ends_after_it_starts(wire: Wire, location: str) -> None:
    """`10-5` after ten bytes answers 400."""
    wire.http.patch(location, data=b"x" * 10)
    response = wire.http.patch(location, data=b"x", headers={"Content-Range": "10-5"})
    assert (response.status_code, code_of(response)) == (400, "BLOB_UPLOAD_INVALID")


@pytest.mark.parametrize("content_range", [None, "bytes 0-2999/*", "bytes 0-2999/3000"])
def test_a_stream_is_one_chunk(wire: Wire, location: str, content_range: str | None) -> None:
    """docker sends everything in one PATCH of unknown length; others write RFC 9110's Content-Range."""
    headers: dict[str, Any] = {} if content_range is None else {"Content-Range": content_range}
    response = wire.stream("PATCH", location, io.BytesIO(CONTENT), **headers)
    assert (response.status_code, response.headers["Range"]) == (202, "0-2999")
    assert wire.http.put(f"{location}?digest={DIGEST}").status_code == 201


@pytest.mark.parametrize("how", ["post", "put", "patch"])
def test_a_wrong_digest_stores_nothing(wire: Wire, location: str, directory: Path, how: str) -> None:
    """400, and no bytes are kept."""
    wrong = CONTENT + b"!"
    if how == "post":
        response = wire.http.post(f"{UPLOADS}?digest={DIGEST}", data=wrong)
    elif how == "put":
        response = wire.http.put(f"{location}?digest={DIGEST}", data=wrong)
    else:
        wire.http.patch(location, data=wrong)
        response = wire.http.put(f"{location}?digest={DIGEST}")
    assert (response.status_code, code_of(response)) == (400, "DIGEST_INVALID")
    assert wire.http.head(f"/v2/acme/hello/blobs/{DIGEST}").status_code == 404
    assert leftovers(directory) == []


@pytest.mark.parametrize("digest", ["", "?digest=", "?digest=sha256:0"])
def test_a_put_needs_a_digest(wire: Wire, location: str, digest: str) -> None:
    """A PUT without a digest answers 400; the upload stays open."""
    response = wire.http.put(location + digest, data=CONTENT)
    assert (response.status_code, code_of(response)) == (400, "DIGEST_INVALID")
    assert wire.http.get(location).status_code == 204


def test_a_cancelled_upload_is_gone(wire: Wire, location: str, directory: Path) -> None:
    """DELETE of an upload answers 204, and its bytes are gone."""
    wire.http.patch(location, data=CONTENT)
    assert wire.http.delete(location).status_code == 204
    assert wire.http.get(location).status_code == 404
    assert leftovers(directory) == []


@pytest.mark.parametrize("session", ["0" * 32, "..", "x", "tmp-1", "%2e%2e", "0" * 31 + "\n"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_unknown_upload_is_not_found(wire: Wire, method: str, session: str) -> None:
    """What was never opened, or has ended, answers 404."""
    response = wire.http.open(f"{UPLOADS}{session}?digest={DIGEST}", method=method)
    assert (response.status_code, code_of(response)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_belongs_to_its_repository(wire: Wire, location: str) -> None:
    """An upload can't be finished in another repository."""
    response = wire.http.put(f"{location.replace('hello', 'other')}?digest={DIGEST}", data=CONTENT)
    assert (response.status_code, code_of(response)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_takes_one_request_at_a_time(app: Flask, wire: Wire, location: str) -> None:
    """While one request writes, another one to the same upload answers 409, and disturbs nothing."""
    answers: list[TestResponse] = []

    class Meanwhile(io.RawIOBase):
        """A body during which another request arrives."""

        rest = CONTENT

        def read(self, size: int = -1) -> bytes:
            if not answers:
                answers.append(app.test_client().patch(location, data=b"other"))
            piece, self.rest = self.rest[:1000], self.rest[1000:]
            return piece

    response = wire.stream("PUT", f"{location}?digest={DIGEST}", Meanwhile())
    assert response.status_code == 201
    assert (answers[0].status_code, code_of(answers[0])) == (409, "BLOB_UPLOAD_INVALID")


class Broken(io.RawIOBase):
    """A body whose client disconnects after some bytes."""

    def __init__(self, error: Exception | None) -> None:
        self._pieces = [CONTENT[:1000], CONTENT[1000:1500]]
        self._error = error

    def readinto(self, buffer: Any) -> int:
        if self._pieces:
            piece = self._pieces.pop(0)
            buffer[: len(piece)] = piece
            return len(piece)
        if self._error is not None:
            raise self._error
        return 0


@pytest.mark.parametrize(
    "error", [None, ConnectionResetError(), TimeoutError()], ids=["end", "reset", "timeout"]
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_short_body_is_not_kept(wire: Wire, location: str, method: str, error: Exception | None) -> None:
    """If a client disconnects, the upload is as before this request."""
    wire.http.patch(location, data=b"before")
    response = wire.stream(method, f"{location}?digest={DIGEST}", Broken(error), 3000)
    assert (response.status_code, code_of(response)) == (400, "SIZE_INVALID")
    assert wire.http.get(location).headers["Range"] == "0-5"


def test_a_caller_within_the_process_gets_its_own_error(wire: Wire, location: str) -> None:
    """An exception of the caller's body is raised to that caller, and nothing is kept."""

    class Gone(Exception):
        pass

    with pytest.raises(Gone):
        wire.stream("PATCH", location, Broken(Gone()), 3000)
    assert wire.http.get(location).headers["Range"] == "0-0"


@pytest.mark.parametrize("told", [True, False], ids=["by Content-Length", "while it arrives"])
def test_a_blob_over_the_limit_is_refused(wire: Wire, location: str, directory: Path, told: bool) -> None:
    """More bytes than the registry takes answer 413, told from Content-Length or on the way."""
    body = io.BytesIO(bytes(10_000_001))
    response = wire.stream("PATCH", location, body, 10_000_001 if told else None)
    assert (response.status_code, code_of(response)) == (413, "SIZE_INVALID")
    assert leftovers(directory) == []
    assert body.tell() == (0 if told else 10_000_001)


def test_chunks_together_may_not_pass_the_limit(wire: Wire, location: str) -> None:
    """The limit is the blob's, not the chunk's."""
    assert wire.http.patch(location, data=bytes(9_000_000)).status_code == 202
    assert wire.http.patch(location, data=bytes(1_000_001)).status_code == 413
    assert wire.http.get(location).headers["Range"] == "0-8999999"


def test_a_content_length_that_is_no_number_is_refused(wire: Wire, location: str) -> None:
    """A Content-Length of nonsense answers 400."""
    response = wire.http.patch(location, data=b"x", environ_overrides={"CONTENT_LENGTH": "-1"})
    assert (response.status_code, code_of(response)) == (400, "SIZE_INVALID")


@pytest.mark.parametrize("operation", ["write", "sync", "mkdir", "rename", "touch"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["disk full", "quota"])
def test_a_full_disk_stores_nothing(
    wire: Wire, location: str, steps: Steps, operation: str, number: int
) -> None:
    """A full disk answers 507 with a sentence; the blob is absent, and once there is room it goes in."""
    steps.trouble[operation] = OSError(number, "no room")
    response = wire.http.put(f"{location}?digest={DIGEST}", data=CONTENT)
    assert (response.status_code, code_of(response)) == (507, "UNKNOWN")
    assert "disk is full" in response.text
    assert wire.http.head(f"/v2/acme/hello/blobs/{DIGEST}").status_code == 404
    steps.trouble.clear()
    wire.push_blob("acme/hello", CONTENT)
    assert wire.http.get(f"/v2/acme/hello/blobs/{DIGEST}").data == CONTENT


def test_other_disk_errors_reveal_no_path(wire: Wire, directory: Path, steps: Steps) -> None:
    """500 with a sentence."""
    steps.trouble["create"] = OSError(errno.EIO, "input/output error", str(directory))
    response = wire.http.post(UPLOADS)
    assert (response.status_code, code_of(response)) == (500, "UNKNOWN")
    assert str(directory) not in response.text


def test_bytes_reach_the_disk_before_their_name(wire: Wire, location: str, steps: Steps) -> None:
    """A blob is flushed before it is renamed, and its folder afterwards."""
    steps.taken.clear()
    wire.http.put(f"{location}?digest={DIGEST}", data=CONTENT)
    operations = [operation for operation, _ in steps.taken]
    assert operations.index("write") < operations.index("sync") < operations.index("rename")
    assert operations[-1] == "sync folder"


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_upload_expires_an_hour_after_its_last_bytes(
    wire: Wire, location: str, directory: Path, clock: Clock, method: str
) -> None:
    """Without a restart or a garbage collection an expired upload answers 404, and its bytes are gone."""
    wire.http.patch(location, data=CONTENT)
    clock.pass_hours(0.9)
    assert wire.http.get(location).status_code == 204
    clock.pass_hours(0.2)
    response = wire.http.open(f"{location}?digest={DIGEST}", method=method)
    assert (response.status_code, code_of(response)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert leftovers(directory) == []


def test_a_new_upload_removes_expired_ones(wire: Wire, location: str, directory: Path, clock: Clock) -> None:
    """An abandoned upload in any repository is removed when another begins."""
    wire.http.patch(location, data=CONTENT)
    clock.pass_hours(1.1)
    wire.http.post("/v2/acme/other/blobs/uploads/")
    assert leftovers(directory) == []


def test_expired_uploads_are_removed_without_a_request(
    wire: Wire, location: str, directory: Path, disk: Disk, clock: Clock
) -> None:
    """The server removes expired uploads from time to time; recent ones stay."""
    wire.http.patch(location, data=CONTENT)
    assert remove_expired_uploads(directory, disk) == Collected()
    clock.pass_hours(1.1)
    assert remove_expired_uploads(directory, disk) == Collected(uploads=1, freed=len(CONTENT))
    assert leftovers(directory) == []
    assert remove_expired_uploads(directory / "missing") == Collected()


def test_a_disk_that_fails_while_expired_uploads_are_removed_is_reported(
    wire: Wire, location: str, directory: Path, disk: Disk, clock: Clock, steps: Steps
) -> None:
    """The next removal tries again."""
    clock.pass_hours(1.1)
    steps.trouble["remove"] = OSError(errno.EIO, "broken")
    (problem,) = remove_expired_uploads(directory, disk).problems
    assert "broken" in problem
    steps.trouble.clear()
    assert remove_expired_uploads(directory, disk).uploads == 1


@pytest.fixture
def limited(directory: Path, disk: Disk) -> Wire:
    """A registry that allows three unfinished uploads of 4,000 bytes together."""
    limits = UploadLimits(sessions=3, total_bytes=4000)
    app = create_registry_app(directory, htpasswd=None, local_only=False, disk=disk, upload_limits=limits)
    return Wire(app.test_client())


def test_the_number_of_unfinished_uploads_has_a_limit(limited: Wire, clock: Clock) -> None:
    """One more answers 429 with a sentence, until an upload is cancelled, finished or expired."""
    begin = [f"/v2/acme/number{number}/blobs/uploads/" for number in range(4)]
    opened = [limited.http.post(url).location for url in begin[:3]]
    for url in (begin[3], f"{begin[3]}?digest={DIGEST}"):
        response = limited.http.post(url, data=CONTENT)
        assert (response.status_code, code_of(response)) == (429, "TOOMANYREQUESTS")
        assert "3 unfinished uploads" in response.text
        assert response.headers["Retry-After"] == "60"
    limited.http.delete(opened[0])
    assert limited.http.post(begin[3]).status_code == 202
    limited.http.put(f"{opened[1]}?digest={DIGEST}", data=CONTENT)
    assert limited.http.post(begin[3]).status_code == 202
    assert limited.http.post(begin[3]).status_code == 429
    clock.pass_hours(1.1)
    assert limited.http.post(begin[3]).status_code == 202


@pytest.mark.parametrize("how", ["POST", "PATCH", "PUT"])
def test_the_bytes_of_unfinished_uploads_have_a_limit(
    limited: Wire, directory: Path, clock: Clock, how: str
) -> None:
    """Bytes beyond the limit of all uploads answer 507 with a sentence; what had arrived before stays."""
    first = limited.http.post("/v2/acme/other/blobs/uploads/").location
    limited.http.patch(first, data=CONTENT[:2000])

    def push() -> TestResponse:
        if how == "POST":
            return limited.http.post(f"{UPLOADS}?digest={DIGEST}", data=CONTENT)
        location = limited.http.post(UPLOADS).location
        return limited.http.open(f"{location}?digest={DIGEST}", method=how, data=CONTENT)

    response = push()
    assert (response.status_code, code_of(response)) == (507, "TOOMANYREQUESTS")
    assert "4000 bytes" in response.text
    assert limited.http.get(first).headers["Range"] == "0-1999"
    assert sum(path.stat().st_size for path in leftovers(directory)) == 2000
    clock.pass_hours(1.1)
    assert push().status_code in {201, 202}


def test_a_long_upload_is_counted_again_on_the_way(directory: Path, disk: Disk) -> None:
    """Other uploads may grow meanwhile, so the sum is computed again and again."""
    limits = UploadLimits(total_bytes=100 * 1024 * 1024)
    app = create_registry_app(directory, htpasswd=None, local_only=False, disk=disk, upload_limits=limits)
    wire = Wire(app.test_client())
    location = wire.http.post(UPLOADS).location

    class Growing(io.RawIOBase):
        """A body of 70 MiB; meanwhile another process stores 40 MiB."""

        left = 70

        def read(self, size: int = -1) -> bytes:
            if self.left == 35:
                with (directory / "_uploads" / "other").open("wb") as file:
                    file.truncate(40 * 1024 * 1024)
            self.left -= 1
            return bytes(1024 * 1024) if self.left >= 0 else b""

    assert wire.stream("PATCH", location, Growing()).status_code == 507


def test_an_upload_to_a_repository_on_another_disk(wire: Wire, location: str, directory: Path) -> None:
    """A repository's folder may be a link to another file system: the bytes are copied there."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if Path(elsewhere).stat().st_dev == directory.stat().st_dev:
            pytest.skip("needs /dev/shm and a temporary directory on different file systems")
        (directory / "acme").symlink_to(elsewhere)
        response = wire.http.put(f"{location}?digest={DIGEST}", data=CONTENT)
        assert response.status_code == 201
        assert wire.http.get(response.location).data == CONTENT
        assert list((directory / "_uploads").iterdir()) == []
        assert [path.read_bytes() for path in leftovers(Path(elsewhere))] == [CONTENT]
