"""Pulling, mounting and deleting blobs: OCI distribution 1.1."""

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path, PosixPath
from typing import BinaryIO

import pytest

from pyoci.embedded import create_registry_app
from pyoci.embedded.blobs import RENEW_AFTER
from pyoci.embedded.storage import Disk
from tests.embedded.builders import Wire, code_of, digest_of
from tests.embedded.conftest import Clock, Steps

CONTENT = bytes(range(256)) * 8
DIGEST = digest_of(CONTENT)
URL = f"/v2/acme/hello/blobs/{DIGEST}"


@pytest.fixture
def pushed(wire: Wire) -> Wire:
    wire.push_blob("acme/hello", CONTENT)
    return wire


def test_get_gives_the_bytes_and_their_digest(pushed: Wire) -> None:
    """A GET answers with all bytes, their length, their digest and their ETag."""
    response = pushed.http.get(URL)
    assert (response.status_code, response.data) == (200, CONTENT)
    assert response.content_length == len(CONTENT)
    assert response.content_type == "application/octet-stream"
    assert response.headers["Docker-Content-Digest"] == DIGEST
    assert response.headers["ETag"] == f'"{DIGEST}"'
    assert response.headers["Accept-Ranges"] == "bytes"


def test_head_gives_length_and_digest_without_bytes(pushed: Wire) -> None:
    """A HEAD answers as a GET does, without the bytes."""
    response = pushed.http.head(URL)
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Docker-Content-Digest"] == DIGEST


@pytest.mark.parametrize(
    ("header", "span"),
    [
        pytest.param("bytes=500-1499", (500, 1499), id="first and last"),
        pytest.param("bytes=500-", (500, 2047), id="first only"),
        pytest.param("bytes=-500", (1548, 2047), id="suffix"),
        pytest.param("bytes=-5000", (0, 2047), id="suffix longer than the blob"),
        pytest.param("bytes=2000-5000", (2000, 2047), id="last past the end"),
        pytest.param("bytes=0-0", (0, 0), id="one byte"),
        pytest.param(" bytes = 1 - 2 ", (1, 2), id="spaces"),
    ],
)
def test_a_range_gives_these_bytes(pushed: Wire, header: str, span: tuple[int, int]) -> None:
    """A Range within the blob answers 206 with its bytes and where they lie."""
    first, last = span
    response = pushed.http.get(URL, headers={"Range": header})
    assert (response.status_code, response.data) == (206, CONTENT[first : last + 1])
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/2048"
    assert response.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("header", ["bytes=5000-10000", "bytes=2048-", "bytes=500-0", "bytes=-0"])
def test_a_range_outside_the_blob_is_refused(pushed: Wire, header: str) -> None:
    """A Range that selects nothing answers 416 and says how long the blob is."""
    response = pushed.http.get(URL, headers={"Range": header})
    assert (response.status_code, code_of(response)) == (416, "RANGE_INVALID")
    assert response.headers["Content-Range"] == "bytes */2048"
    assert response.headers["Content-Length"] == str(len(response.data))


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=1-2", "bytes=", "bytes=-", "bytes=x-y"])
def test_other_ranges_are_ignored(pushed: Wire, header: str) -> None:
    """Several ranges, other units and invalid values answer 200 with everything (RFC 9110, section 14.2)."""
    assert pushed.http.get(URL, headers={"Range": header}).data == CONTENT


def test_if_range_with_another_etag_gives_everything(pushed: Wire) -> None:
    """Range counts only while If-Range names this very blob."""
    other = {"Range": "bytes=0-1", "If-Range": '"sha256:other"'}
    assert pushed.http.get(URL, headers=other).status_code == 200
    assert pushed.http.get(URL, headers=other | {"If-Range": f'"{DIGEST}"'}).status_code == 206


def test_if_none_match_spares_the_bytes(pushed: Wire) -> None:
    """A client that has the blob gets a 304."""
    response = pushed.http.get(URL, headers={"If-None-Match": f'"{DIGEST}"'})
    assert (response.status_code, response.data) == (304, b"")


def test_a_server_that_sends_files_itself_is_given_the_file(pushed: Wire) -> None:
    """Under a server with wsgi.file_wrapper a blob is handed over as an open file, at the range's start."""
    seen = []

    def wrapper(file: BinaryIO, size: int) -> Iterator[bytes]:
        seen.append((file.tell(), size))
        with file:
            return iter([file.read(10)])

    headers = {"Range": "bytes=100-109"}
    response = pushed.http.get(URL, headers=headers, environ_overrides={"wsgi.file_wrapper": wrapper})
    assert response.data == CONTENT[100:110]
    assert seen == [(100, 1024 * 1024)]


def test_a_large_blob_comes_in_pieces(wire: Wire) -> None:
    """A blob is never in memory as a whole: it comes in pieces of a MiB."""
    content = os.urandom(2_500_000)
    wire.push_blob("acme/hello", content)
    response = wire.http.get(f"/v2/acme/hello/blobs/{digest_of(content)}", buffered=False)
    pieces = list(response.iter_encoded())
    assert [len(piece) for piece in pieces] == [1048576, 1048576, 402848]
    assert b"".join(pieces) == content


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_an_unknown_blob_is_not_found(pushed: Wire, method: str) -> None:
    """404, in this repository and in one that doesn't exist."""
    unknown = digest_of(b"other")
    for name in ("acme/hello", "acme/other"):
        response = pushed.http.open(f"/v2/{name}/blobs/{unknown}", method=method)
        assert response.status_code == 404
        if method != "HEAD":
            assert code_of(response) == "BLOB_UNKNOWN"


@pytest.mark.parametrize(
    "digest", ["sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", "x", "sha256:" + "A" * 64]
)
def test_a_bad_digest_is_refused(wire: Wire, digest: str) -> None:
    """What is no sha256 or sha512 digest answers 400."""
    response = wire.http.get(f"/v2/acme/hello/blobs/{digest}")
    assert (response.status_code, code_of(response)) == (400, "DIGEST_INVALID")


def test_a_blob_may_be_deleted_while_it_is_found(wire: Wire, directory: Path) -> None:
    """HEAD answers with the blob that it found, and then that it isn't there any more."""
    wire.push_blob("acme/hello", CONTENT)

    def clock() -> float:
        (directory / "acme/hello/blobs" / DIGEST.replace(":", "/")).unlink(missing_ok=True)
        return time.time()

    app = create_registry_app(directory, htpasswd=None, local_only=False, disk=Disk(clock=clock))
    assert [app.test_client().head(URL).status_code for _ in range(2)] == [200, 404]


def test_a_deleted_blob_is_gone(pushed: Wire) -> None:
    """A DELETE answers 202, and the blob is gone at once."""
    assert pushed.http.delete(URL).status_code == 202
    assert pushed.http.head(URL).status_code == 404


def test_a_manifest_is_not_deleted_as_a_blob(wire: Wire) -> None:
    """Manifests lie among the blobs; DELETE of one below blobs/ answers 405 and leaves it."""
    manifest = wire.push_image("acme/hello", "1.0")
    response = wire.http.delete(f"/v2/acme/hello/blobs/{digest_of(manifest)}")
    assert (response.status_code, code_of(response)) == (405, "UNSUPPORTED")
    assert wire.http.get("/v2/acme/hello/manifests/1.0").data == manifest


@pytest.mark.parametrize("source", ["&from=acme/hello", ""], ids=["from a repository", "from anywhere"])
def test_a_mounted_blob_needs_no_bytes(pushed: Wire, source: str) -> None:
    """Mounting answers 201 with the blob's place in the other repository, where it outlives the first."""
    response = pushed.http.post(f"/v2/other/place/blobs/uploads/?mount={DIGEST}{source}")
    assert (response.status_code, response.location) == (201, f"/v2/other/place/blobs/{DIGEST}")
    pushed.http.delete(URL)
    assert pushed.http.get(response.location).data == CONTENT


def test_a_blob_that_is_there_is_mounted_again(pushed: Wire) -> None:
    """Mounting what the repository has already answers 201 too."""
    response = pushed.http.post(f"/v2/acme/hello/blobs/uploads/?mount={DIGEST}&from=acme/hello")
    assert response.status_code == 201


@pytest.mark.parametrize("source", ["&from=acme/nowhere", ""], ids=["from a repository", "from anywhere"])
def test_failed_mount_opens_an_upload(wire: Wire, source: str) -> None:
    """A mount of a missing blob answers 202 with an upload."""
    response = wire.http.post(f"/v2/other/place/blobs/uploads/?mount={DIGEST}{source}")
    assert response.status_code == 202
    assert wire.http.put(f"{response.location}?digest={DIGEST}", data=CONTENT).status_code == 201


@pytest.mark.parametrize(
    ("query", "code"),
    [("mount=x&from=acme/hello", "DIGEST_INVALID"), (f"mount={DIGEST}&from=../etc", "NAME_INVALID")],
)
def test_a_bad_mount_is_refused(wire: Wire, query: str, code: str) -> None:
    """A mount of no digest, or from no name, answers 400."""
    response = wire.http.post(f"/v2/acme/hello/blobs/uploads/?{query}")
    assert (response.status_code, code_of(response)) == (400, code)


def test_sha512_blobs_live_beside_the_others(wire: Wire) -> None:
    """A blob may go by its sha512 digest."""
    digest = f"sha512:{hashlib.sha512(CONTENT).hexdigest()}"
    response = wire.http.post(f"/v2/acme/hello/blobs/uploads/?digest={digest}", data=CONTENT)
    assert (response.status_code, response.location) == (201, f"/v2/acme/hello/blobs/{digest}")
    assert wire.http.get(response.location).data == CONTENT


def test_the_empty_blob_is_a_blob(wire: Wire) -> None:
    """A blob of no bytes is stored and given back."""
    digest = wire.push_blob("acme/hello", b"")
    response = wire.http.get(f"/v2/acme/hello/blobs/{digest}")
    assert (response.status_code, response.headers["Content-Length"]) == (200, "0")


def test_head_renews_a_blob(pushed: Wire, clock: Clock, directory: Path) -> None:
    """A client may rely on a blob that HEAD has confirmed; GET doesn't renew it."""
    path = directory / "acme/hello/blobs/sha256" / DIGEST.removeprefix("sha256:")
    clock.pass_hours(2)
    pushed.http.get(URL)
    assert clock() - path.stat().st_mtime > RENEW_AFTER
    pushed.http.head(URL)
    assert clock() - path.stat().st_mtime < 10


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK], ids=["another disk", "too many names"])
def test_a_blob_that_cant_be_linked_is_copied(pushed: Wire, steps: Steps, number: int) -> None:
    """If the file system has no hard links."""
    steps.trouble["link"] = OSError(number, "no link")
    response = pushed.http.post(f"/v2/other/place/blobs/uploads/?mount={DIGEST}&from=acme/hello")
    assert response.status_code == 201
    assert pushed.http.get(response.location).data == CONTENT


def test_mount_of_a_blob_that_is_deleted_meanwhile_opens_an_upload(pushed: Wire, steps: Steps) -> None:
    """202, like for a missing blob."""
    steps.trouble["link"] = FileNotFoundError(errno.ENOENT, "gone")
    response = pushed.http.post(f"/v2/other/place/blobs/uploads/?mount={DIGEST}&from=acme/hello")
    assert response.status_code == 202


def test_mount_with_a_failing_disk_is_a_500(pushed: Wire, steps: Steps) -> None:
    """It isn't reported as a success."""
    steps.trouble["link"] = OSError(errno.EIO, "broken")
    response = pushed.http.post(f"/v2/other/place/blobs/uploads/?mount={DIGEST}&from=acme/hello")
    assert response.status_code == 500


@pytest.mark.parametrize(
    ("number", "status"), [(errno.EROFS, 200), (errno.EACCES, 200), (errno.EPERM, 200), (errno.EIO, 500)]
)
def test_read_only_disk_serves_blobs(
    pushed: Wire, clock: Clock, steps: Steps, number: int, status: int
) -> None:
    """HEAD of an old blob answers, too: nothing is collected there."""
    clock.pass_hours(2)
    steps.trouble["touch"] = OSError(number, "no")
    assert pushed.http.head(URL).status_code == status


@pytest.mark.parametrize(
    ("number", "status"), [(errno.EROFS, 200), (errno.EACCES, 200), (errno.EPERM, 200), (errno.EIO, 500)]
)
def test_read_only_disk_without_locks(
    pushed: Wire, clock: Clock, directory: Path, disk: Disk, number: int, status: int
) -> None:
    """The same where the lock's file can't be opened for writing."""

    class ReadOnly(PosixPath):
        def __fspath__(self) -> str:
            if self.name == "_lock":
                raise OSError(number, "no")
            return super().__fspath__()

    clock.pass_hours(2)
    app = create_registry_app(ReadOnly(directory), htpasswd=None, local_only=False, disk=disk)
    assert app.test_client().head(URL).status_code == status
