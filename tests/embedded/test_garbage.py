"""Garbage collection: what nothing has referred to for an hour is removed, and nothing else."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Generator
from pathlib import Path, PosixPath

import pytest

from pyoci.embedded import Collected, gc
from pyoci.embedded.storage import Disk, Layout
from tests.embedded.builders import MANIFEST, Wire, digest_of, make_descriptor, make_image_index
from tests.embedded.conftest import Clock

NAME = "acme/hello"


def files(directory: Path) -> set[str]:
    """The digests of all files in the repository."""
    return {f"sha256:{path.name}" for path in (directory / NAME / "blobs").rglob("*") if path.is_file()}


def test_what_is_referred_to_stays(wire: Wire, directory: Path, disk: Disk, clock: Clock) -> None:
    """A tagged image index, its untagged manifests and their blobs stay, at any age."""
    wheel, sdist = wire.push_image(NAME, content=b"wheel"), wire.push_image(NAME, content=b"sdist")
    wire.push(NAME, "1.0", make_image_index(wheel, sdist))
    before = files(directory)
    clock.pass_hours(1000)
    assert gc(directory, disk=disk) == Collected()
    assert files(directory) == before
    assert len(before) == 6


def test_what_nothing_refers_to_goes(wire: Wire, directory: Path, disk: Disk, clock: Clock) -> None:
    """An unused blob, an image index without a tag, and what only that needed are
    removed. Shared blobs stay.
    """
    old, kept = wire.push_image(NAME, content=b"old"), wire.push_image(NAME, content=b"kept")
    replaced = wire.push(NAME, "1.0", make_image_index(old, kept))
    lone = wire.push_blob(NAME, b"lone")
    current = wire.push(NAME, "1.0", make_image_index(kept))
    clock.pass_hours(2)
    collected = gc(directory, disk=disk)
    assert (collected.manifests, collected.blobs, collected.problems) == (2, 4, ())
    assert collected.freed > 0
    assert files(directory) == {current, digest_of(kept), digest_of(b"kept"), digest_of(b"{}")}
    assert wire.tags(NAME) == ["1.0"]
    for gone in (replaced, digest_of(old)):
        assert wire.http.get(f"/v2/{NAME}/manifests/{gone}").status_code == 404
    assert wire.http.get(f"/v2/{NAME}/blobs/{lone}").status_code == 404


def test_nothing_younger_than_an_hour_is_removed(
    wire: Wire, directory: Path, disk: Disk, clock: Clock
) -> None:
    """Blobs and manifests that a push may still refer to are kept."""
    wire.push_image(NAME, content=b"untagged")
    wire.http.post(f"/v2/{NAME}/blobs/uploads/")
    clock.pass_hours(0.9)
    assert gc(directory, disk=disk) == Collected()
    clock.pass_hours(0.2)
    assert gc(directory, disk=disk).manifests == 1


def test_what_loses_its_tag_gets_an_hour(wire: Wire, directory: Path, disk: Disk, clock: Clock) -> None:
    """A client that has just read the tag can still read the manifest, however old it is."""
    for tag in ("replaced", "deleted"):
        wire.push(NAME, tag, make_image_index(annotations={"of": tag}))
    clock.pass_hours(100)
    wire.push(NAME, "replaced", make_image_index())
    wire.http.delete(f"/v2/{NAME}/manifests/deleted")
    assert gc(directory, disk=disk) == Collected()
    clock.pass_hours(2)
    assert gc(directory, disk=disk).manifests == 2


def test_what_head_has_confirmed_gets_an_hour(wire: Wire, directory: Path, disk: Disk, clock: Clock) -> None:
    """A push may rely on a blob or manifest that HEAD has confirmed."""
    manifest = wire.push_image(NAME)
    clock.pass_hours(2)
    for path in (
        f"blobs/{digest_of(b'layer')}",
        f"blobs/{digest_of(b'{}')}",
        f"manifests/{digest_of(manifest)}",
    ):
        assert wire.http.head(f"/v2/{NAME}/{path}").status_code == 200
    assert gc(directory, disk=disk) == Collected()
    wire.push(NAME, "1.0", make_image_index(manifest))


def test_referrers_live_as_long_as_their_subject(
    wire: Wire, directory: Path, disk: Disk, clock: Clock
) -> None:
    """A manifest whose subject stays is kept, with its own referrers. One without a subject is removed."""
    subject = wire.push_image(NAME, "1.0")
    signature = make_image_index(subject=make_descriptor(subject, MANIFEST))
    wire.push(NAME, None, signature)
    wire.push(NAME, None, make_image_index(subject=make_descriptor(signature, MANIFEST)))
    orphan = wire.push(NAME, None, make_image_index(subject=make_descriptor(b"missing", MANIFEST)))
    clock.pass_hours(2)
    assert gc(directory, disk=disk).manifests == 1
    assert wire.http.get(f"/v2/{NAME}/manifests/{orphan}").status_code == 404
    wire.http.delete(f"/v2/{NAME}/manifests/1.0")
    clock.pass_hours(2)
    assert gc(directory, disk=disk).manifests == 3


def test_old_uploads_and_temporary_files_go(wire: Wire, directory: Path, disk: Disk, clock: Clock) -> None:
    """Those of killed workers and lost clients are removed. An upload in use is kept."""
    wire.push(NAME, "1.0", make_image_index())
    left, taken = (wire.http.post(f"/v2/{NAME}/blobs/uploads/").location for _ in range(2))
    wire.http.patch(left, data=b"x" * 100)
    (directory / NAME / "_uploads" / "tmp-left").write_bytes(b"x" * 11)
    clock.pass_hours(2)
    (locked,) = (directory / "_uploads").glob(f"{taken.rpartition('/')[2]}-*")
    with locked.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert gc(directory, disk=disk) == Collected(uploads=2, freed=111)
    assert list((directory / "_uploads").iterdir()) == [locked]


def test_a_collected_repository_still_exists(wire: Wire, directory: Path, disk: Disk, clock: Clock) -> None:
    """A repository from which all was collected has no tags, and is there."""
    wire.push(NAME, None, make_image_index())
    clock.pass_hours(2)
    gc(directory, disk=disk)
    assert wire.tags(NAME) == []
    assert files(directory) == set()


@pytest.mark.parametrize("damage", ["list", "document", "foreign"])
def test_what_cant_be_read_is_left_alone(
    wire: Wire, directory: Path, disk: Disk, clock: Clock, damage: str
) -> None:
    """A repository with a damaged index or manifest is reported and not changed; the others are collected."""
    digest = wire.push(NAME, "1.0", make_image_index())
    wire.push_blob(NAME, b"lone")
    wire.push_blob("other", b"lone")
    if damage == "list":
        (directory / NAME / "index.json").write_text("{")
    elif damage == "document":
        (directory / NAME / "blobs" / digest.replace(":", "/")).write_text("{}")
    else:
        entry = {"mediaType": "text/plain", "digest": digest_of(b"lone"), "size": 4}
        (directory / NAME / "index.json").write_text(json.dumps({"manifests": [entry]}))
    before = files(directory)
    clock.pass_hours(2)
    collected = gc(directory, disk=disk)
    assert collected.blobs == 1
    (problem,) = collected.problems
    assert problem.startswith(f"{NAME}: ")
    assert files(directory) == before


class Unreadable(PosixPath):
    """A folder whose disk fails when its content is listed."""

    def iterdir(self) -> Generator[Unreadable, None, None]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_repositories_that_cant_be_listed_are_reported(
    wire: Wire, directory: Path, disk: Disk, clock: Clock
) -> None:
    """The server's clean-up goes on: unfinished uploads are still removed."""
    wire.http.post(f"/v2/{NAME}/blobs/uploads/")
    clock.pass_hours(2)
    collected = gc(Unreadable(directory), disk=disk)
    assert (collected.uploads, collected.problems) == (
        1,
        ("repositories: [Errno 5] Input/output error",),
    )


def test_a_busy_repository_is_left_alone(wire: Wire, directory: Path, disk: Disk, clock: Clock) -> None:
    """A repository that stays locked is reported, and collected the next time."""
    wire.push_blob(NAME, b"lone")
    clock.pass_hours(2)
    with Layout(directory).folder(NAME).lock():
        assert gc(directory, disk=disk, lock_limit=0.01).problems == (f"{NAME}: it is busy",)
    assert gc(directory, disk=disk).blobs == 1


def test_nothing_is_collected_where_nothing_is(tmp_path: Path) -> None:
    """A directory that isn't there, or is empty, has no garbage."""
    assert gc(tmp_path / "missing") == Collected()
    assert gc(tmp_path) == Collected()


def test_files_of_others_are_left_alone(wire: Wire, directory: Path, disk: Disk, clock: Clock) -> None:
    """Files that belong to no repository are kept."""
    wire.push(NAME, "1.0", make_image_index())
    for path in (
        directory / "README",
        directory / "acme" / "notes.txt",
        directory / NAME / "blobs/sha256/notes.txt",
    ):
        path.write_text("mine")
        os.utime(path, (0, 0))
    clock.pass_hours(2)
    assert gc(directory, disk=disk) == Collected()
    assert (directory / "README").exists()
    assert (directory / NAME / "blobs/sha256/notes.txt").exists()
