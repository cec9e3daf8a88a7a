"""Several writers at once, in one process and in several, lose nothing."""

import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PosixPath

import pytest
from flask import Flask

from pyoci.embedded import create_registry_app, gc
from pyoci.embedded.storage import Disk, locked
from tests.embedded.builders import Wire, code_of, digest_of, make_image_index, make_manifest
from tests.embedded.conftest import Clock

CHECKOUT = Path(__file__).parents[2]
NAME = "acme/hello"
MANIFEST = make_manifest(b"{}")


def test_processes_that_push_to_one_repository_lose_nothing(directory: Path) -> None:
    """Two processes push twenty-five tags each into one repository at the same time: all fifty are there."""
    command = [sys.executable, "-m", "tests.embedded.pushing", str(directory)]
    pushing = [
        subprocess.Popen([*command, prefix, "25"], cwd=CHECKOUT, stdin=subprocess.PIPE)
        for prefix in ("a", "b")
    ]
    for process in pushing:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in pushing] == [0, 0]
    wire = Wire(create_registry_app(directory, htpasswd=None, local_only=False).test_client())
    assert wire.tags(NAME) == sorted(f"{prefix}{number}" for prefix in "ab" for number in range(25))
    for tag in wire.tags(NAME):
        assert wire.http.get(f"/v2/{NAME}/manifests/{tag}").data == make_image_index(annotations={"tag": tag})


def test_threads_that_push_to_one_repository_lose_nothing(app: Flask) -> None:
    """Eight threads push images with shared blobs, and delete tags of their own: all others are there."""

    def push(number: int) -> None:
        wire = Wire(app.test_client())
        wire.push_image(NAME, f"kept{number}", content=b"%d" % (number % 3))
        wire.push(NAME, f"gone{number}", make_image_index(annotations={"number": str(number)}))
        assert wire.http.delete(f"/v2/{NAME}/manifests/gone{number}").status_code == 202

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(push, range(40)))
    assert Wire(app.test_client()).tags(NAME) == sorted(f"kept{number}" for number in range(40))


def test_a_push_beside_a_collection_loses_nothing(app: Flask, directory: Path) -> None:
    """While garbage is collected again and again, blobs that HEAD called present can be built upon."""
    wire = Wire(app.test_client())
    ended = threading.Event()

    def collect() -> None:
        while not ended.wait(0.01):
            assert gc(directory).problems == ()

    with ThreadPoolExecutor(1) as threads:
        collecting = threads.submit(collect)
        try:
            for number in range(30):
                content = b"%d" % number
                wire.push_blob(NAME, content)
                wire.push_blob(NAME, b"{}")
                for blob in (content, b"{}"):
                    make_old(directory / NAME / "blobs" / digest_of(blob).replace(":", "/"))
                    if wire.http.head(f"/v2/{NAME}/blobs/{digest_of(blob)}").status_code == 404:
                        wire.push_blob(NAME, blob)
                wire.push(NAME, f"tag{number}", make_manifest(b"{}", content))
        finally:
            ended.set()
        collecting.result(10)
    assert len(wire.tags(NAME)) == 30


def make_old(path: Path) -> None:
    """Two hours old, and so garbage, unless it is collected already."""
    two_hours_ago = time.time() - 7200
    with suppress(FileNotFoundError):
        os.utime(path, (two_hours_ago, two_hours_ago))


def test_a_busy_repository_answers_503(directory: Path) -> None:
    """Where a repository stays locked, a write answers 503 and asks to come again; reading goes on."""
    app = create_registry_app(directory, htpasswd=None, local_only=False, lock_limit=0.05)
    wire = Wire(app.test_client())
    wire.push(NAME, "1.0", make_image_index())
    with locked(directory / NAME / "_lock", limit=1.0):
        response = wire.put(NAME, "2.0", make_image_index())
        assert wire.tags(NAME) == ["1.0"]
    assert (response.status_code, code_of(response)) == (503, "UNAVAILABLE")
    assert response.headers["Retry-After"] == "1"


class Removed(PosixPath):
    """A registry's directory; an operator removes a repository's folder when a request locks it."""

    def __fspath__(self) -> str:
        path = super().__fspath__()
        if self.name == "_lock":
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
        return path


@pytest.mark.parametrize(
    ("method", "url", "answer"),
    [
        ("HEAD", f"/v2/{NAME}/blobs/{digest_of(b'{}')}", (404, "BLOB_UNKNOWN")),
        ("DELETE", f"/v2/{NAME}/blobs/{digest_of(b'{}')}", (404, "BLOB_UNKNOWN")),
        ("DELETE", f"/v2/{NAME}/manifests/1.0", (404, "MANIFEST_UNKNOWN")),
        ("DELETE", f"/v2/{NAME}/manifests/{digest_of(MANIFEST)}", (404, "MANIFEST_UNKNOWN")),
        ("PUT", f"/v2/{NAME}/manifests/2.0", (503, "UNAVAILABLE")),
        ("POST", f"/v2/{NAME}/blobs/uploads/?digest={digest_of(MANIFEST)}", (503, "UNAVAILABLE")),
        ("POST", f"/v2/b/c/blobs/uploads/?from={NAME}&mount={digest_of(b'{}')}", (202, "")),
    ],
)
def test_a_repository_is_removed(
    wire: Wire, directory: Path, disk: Disk, clock: Clock, method: str, url: str, answer: tuple[int, str]
) -> None:
    """What is asked for isn't there any more. A client may try again to write."""
    wire.push_blob(NAME, b"{}")
    wire.push(NAME, "1.0", MANIFEST)
    clock.pass_hours(2)
    app = create_registry_app(Removed(directory), htpasswd=None, local_only=False, disk=disk)
    response = app.test_client().open(url, method=method, data=MANIFEST)
    status, code = answer
    assert response.status_code == status
    assert method == "HEAD" or not code or code_of(response) == code


def test_garbage_of_a_repository_that_is_removed(wire: Wire, directory: Path) -> None:
    """There is none, and that isn't a problem."""
    wire.push_blob(NAME, b"{}")
    assert gc(Removed(directory)).problems == ()
