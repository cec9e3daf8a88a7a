"""Yank, delete, and changes made by several at once."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyoci.errors import (
    AlreadyExists,
    InvalidRequest,
    NotFound,
    NotSupported,
    ProtocolError,
    PyOCIError,
    Unreachable,
)
from pyoci.oci.models import IMAGE_INDEX
from pyoci.oci.references import Digest
from pyoci.store.service import PackageStore
from tests.builders import make_metadata, make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, content, names, page, publish, publish_wheel

ACME = make_namespace()
WHEEL, SDIST = make_wheel()[0], make_sdist()[0]


def yanked(store: PackageStore) -> dict[str, str | None]:
    return {file.filename: file.yanked for file in page(store).files}


class TestYank:
    """PEP 592: a yanked file still serves those who locked it."""

    @pytest.fixture(autouse=True)
    def _published(self, store: PackageStore) -> None:
        publish(store, *make_wheel())
        publish(store, *make_sdist())

    def test_a_file(self, store: PackageStore) -> None:
        """One file, with a reason; the bytes stay."""
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        assert yanked(store) == {WHEEL: "broken", SDIST: None}
        assert content(store, WHEEL) == make_wheel()[1]

    def test_a_version(self, store: PackageStore) -> None:
        """All files of a version together, as pip and Renovate want it; without a reason, too."""
        store.yank(ACME, HELLO, "1.0", "", NOBODY)
        assert yanked(store) == {WHEEL: "", SDIST: ""}

    def test_and_take_it_back(self, registry: TestRegistry, store: PackageStore) -> None:
        """The entries are what they were."""
        before = registry.document("1.0")["manifests"]
        store.yank(ACME, HELLO, "1.0", "broken", NOBODY)
        store.yank(ACME, HELLO, "v1.0", None, NOBODY)
        assert registry.document("1.0")["manifests"] == before

    def test_twice_writes_once(self, registry: TestRegistry, store: PackageStore) -> None:
        """What is so already needs no write."""
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        registry.calls.clear()
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        assert not [line for line in registry.calls if line.startswith("PUT")]

    @pytest.mark.parametrize("reason", ["a\nb", "x" * 1001, "\0"])
    def test_for_a_reason_that_can_be_shown(self, store: PackageStore, reason: str) -> None:
        """One line of at most 1000 characters."""
        with pytest.raises(InvalidRequest, match="one line of at most 1000"):
            store.yank(ACME, HELLO, WHEEL, reason, NOBODY)
        assert yanked(store) == {WHEEL: None, SDIST: None}

    @pytest.mark.parametrize(
        "target", ["2.0", "hello_world-2.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"]
    )
    def test_what_is_not_there(self, store: PackageStore, target: str) -> None:
        """Unknown files and versions are not found."""
        with pytest.raises(NotFound):
            store.yank(ACME, HELLO, target, "", NOBODY)

    def test_what_is_neither_file_nor_version(self, store: PackageStore) -> None:
        """The sentence tells what was expected."""
        with pytest.raises(InvalidRequest, match="neither a file name nor a version"):
            store.yank(ACME, HELLO, "latest", "", NOBODY)

    def test_survives_the_next_upload(self, store: PackageStore) -> None:
        """Adding a file touches no other."""
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        publish(store, *make_wheel(tag="py2-none-any"))
        assert yanked(store)[WHEEL] == "broken"


class TestDelete:
    """A file, or a version, by whatever way the registry knows."""

    def test_a_file_leaves_its_neighbours(self, registry: TestRegistry, store: PackageStore) -> None:
        """The image index is rewritten without it, which works wherever pushing does."""
        publish(store, *make_wheel())
        publish(store, *make_sdist())
        child = registry.document("1.0")["manifests"][0]["digest"]
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert names(store) == [SDIST]
        assert not registry.exists(child)

    def test_the_last_file_removes_the_version(self, registry: TestRegistry, store: PackageStore) -> None:
        """Tag, image index and child are gone; the project is still there, without versions."""
        publish_wheel(store)
        publish_wheel(store, "2.0")
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert not registry.exists("1.0")
        assert [str(version) for version in page(store).versions] == ["2.0"]

    def test_a_version(self, store: PackageStore) -> None:
        """All of its files at once, as the Rust PyOCI does it."""
        publish(store, *make_wheel())
        publish(store, *make_sdist())
        store.delete(ACME, HELLO, "1.0", NOBODY)
        assert names(store) == []

    def test_and_publish_again(self, store: PackageStore) -> None:
        """Another file may take the name: the registry is the operator's."""
        publish_wheel(store)
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        publish_wheel(store, requires=["other"])
        assert content(store, WHEEL) == make_wheel(requires=["other"])[1]

    def test_what_is_not_there(self, store: PackageStore) -> None:
        """Unknown files, versions and projects are not found."""
        publish_wheel(store)
        for target in ("2.0", SDIST):
            with pytest.raises(NotFound):
                store.delete(ACME, HELLO, target, NOBODY)

    TAG = r"DELETE .*/manifests/[0-9]"
    DIGEST = r"DELETE .*/manifests/sha256"

    @pytest.mark.parametrize("status", [400, 405])
    def test_where_tags_cannot_be_deleted(
        self, registry: TestRegistry, store: PackageStore, status: int
    ) -> None:
        """docker-registry 2.8 (400) and Harbor: the image index goes by its digest (quirk 4)."""
        registry.refuse = {self.TAG: (status, "UNSUPPORTED")}
        publish_wheel(store)
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert not registry.exists("1.0")

    def test_where_nothing_can_be_deleted(self, registry: TestRegistry, store: PackageStore) -> None:
        """ghcr.io and Docker Hub: an image index without manifests takes its place, unlike any other."""
        registry.refuse = {"DELETE": (405, "UNSUPPORTED")}
        for version in ("1.0", "2.0"):
            publish_wheel(store, version)
            store.delete(ACME, HELLO, version, NOBODY)
        assert names(store) == []
        first, second = registry.document("1.0"), registry.document("2.0")
        assert first["manifests"] == second["manifests"] == []
        assert json.dumps(first) != json.dumps(second)

    def test_a_version_that_was_emptied_can_be_filled(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """It is shown nowhere, and an upload finds it free."""
        registry.refuse = {"DELETE": (405, "UNSUPPORTED")}
        publish_wheel(store)
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        with pytest.raises(NotFound):
            store.delete(ACME, HELLO, "1.0", NOBODY)
        publish_wheel(store, requires=["other"])
        assert names(store) == [WHEEL]

    def test_where_not_even_that_is_allowed(self, registry: TestRegistry, store: PackageStore) -> None:
        """405 only if every way is refused."""
        publish_wheel(store)
        registry.refuse = {"DELETE": (405, "UNSUPPORTED"), r"PUT .*/manifests/1\.0": (405, "UNSUPPORTED")}
        with pytest.raises(NotSupported):
            store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert names(store) == [WHEEL]

    def test_children_that_stay_are_no_failure(self, registry: TestRegistry, store: PackageStore) -> None:
        """Harbor answers 412 for the child of an image index; the file is gone all the same."""
        publish(store, *make_wheel())
        publish(store, *make_sdist())
        registry.refuse = {self.DIGEST: (412, "DENIED")}
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert names(store) == [SDIST]


class TestPurged:
    """A clean-up policy took the untagged manifest of a file; the registry checks what is referred to."""

    @pytest.fixture(autouse=True)
    def _purged(self, registry: TestRegistry, store: PackageStore) -> None:
        publish(store, *make_wheel())
        publish(store, *make_sdist())
        child = registry.document("1.0")["manifests"][0]["digest"]
        registry.session().delete(make_repository(), Digest.parse(child))

    def test_files_are_still_served(self, store: PackageStore) -> None:
        """By the digest in the entry; metadata, too (quirk 1)."""
        assert content(store, WHEEL) == make_wheel()[1]
        assert store.metadata(ACME, HELLO, WHEEL, NOBODY)

    def test_the_version_can_still_be_changed(self, registry: TestRegistry, store: PackageStore) -> None:
        """The manifest is written anew: upload, yank and delete work, and nothing else changes."""
        before = page(store).files
        added = publish(store, *make_wheel(tag="py2-none-any"))
        assert [file for file in page(store).files if file != added] == list(before)
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        store.delete(ACME, HELLO, SDIST, NOBODY)
        assert yanked(store) == {WHEEL: "broken", added.filename: None}
        (child,) = (
            d for d in registry.document("1.0")["manifests"] if d["annotations"].get("com.pyoci.yanked")
        )
        (layer,) = registry.document(child["digest"])["layers"]
        assert layer["digest"] == f"sha256:{before[0].sha256}"
        assert content(store, WHEEL) == make_wheel()[1]

    @pytest.mark.parametrize("change", ["yank", "delete"])
    def test_a_change_that_was_overwritten_is_noticed_under_another_digest(
        self, registry: TestRegistry, store: PackageStore, change: str
    ) -> None:
        """A neighbour wrote the manifest anew, and then the version as it was before our change."""
        before, overwritten = registry.document("1.0"), threading.Event()

        def overwrite(line: str) -> None:
            wrote = any(call.startswith("PUT") and call.endswith("/1.0") for call in registry.calls[begun:])
            if wrote and line.startswith("GET") and line.endswith("/1.0") and not overwritten.is_set():
                overwritten.set()
                anew = registry.document("1.0")["manifests"] if change == "yank" else before["manifests"]
                for entry in anew:
                    entry["annotations"].pop("com.pyoci.yanked", None)
                registry.put("1.0", {**before, "manifests": [*_pushed_anew(registry, anew)]})

        begun, registry.before = len(registry.calls), overwrite
        if change == "yank":
            store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
            assert yanked(store) == {WHEEL: "broken", SDIST: None}
        else:
            store.delete(ACME, HELLO, WHEEL, NOBODY)
            assert names(store) == [SDIST]
        assert overwritten.is_set()

    def test_what_has_lost_its_config_too_gets_an_empty_one(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """As the files of the Rust PyOCI have it."""
        config = registry.document("1.0")["manifests"][0]["annotations"]["com.pyoci.config_digest"]
        registry.refuse = {f"HEAD .*/blobs/{config}": (404, "BLOB_UNKNOWN")}
        publish(store, *make_wheel(tag="py2-none-any"))
        assert len(names(store)) == 3

    def test_a_file_that_is_lost_keeps_no_other_from_changing(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """It stays listed, and is there again once it was uploaded again; another of its name is refused."""
        blob = registry.document("1.0")["manifests"][0]["annotations"]["com.pyoci.sha256_digest"]
        lose(registry, blob)
        publish(store, *make_wheel(tag="py2-none-any"))
        assert set(names(store)) == {WHEEL, SDIST, make_wheel(tag="py2-none-any")[0]}
        with pytest.raises(NotFound):
            content(store, WHEEL)
        with pytest.raises(AlreadyExists):
            publish(store, WHEEL, make_wheel(requires=["other"])[1])
        publish(store, *make_wheel())
        assert content(registry.store(), WHEEL) == make_wheel()[1]
        (child,) = (d for d in registry.document("1.0")["manifests"] if blob in str(d["annotations"]))
        assert registry.document(child["digest"])["layers"][0]["digest"] == f"sha256:{blob}"
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert set(names(store)) == {SDIST, make_wheel(tag="py2-none-any")[0]}

    def test_the_whole_version_is_lost_and_uploaded_again(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """Files, config blobs and manifests are gone, as after garbage-collect --delete-untagged: each upload
        brings its own back, and a yank stays.
        """
        store.yank(ACME, HELLO, SDIST, "bad", NOBODY)
        for entry in registry.document("1.0")["manifests"]:
            if registry.exists(entry["digest"]):
                registry.session().delete(make_repository(), Digest.parse(entry["digest"]))
            lose(registry, entry["annotations"]["com.pyoci.sha256_digest"])
            lose(registry, entry["annotations"]["com.pyoci.config_digest"].partition(":")[2])
        for filename, data in (make_wheel(), make_sdist()):
            with pytest.raises(NotFound):
                content(store, filename)
            publish(store, filename, data)
            assert content(registry.store(), filename) == data
        assert registry.store().metadata(ACME, HELLO, WHEEL, NOBODY) == make_metadata()
        assert yanked(registry.store()) == {WHEEL: None, SDIST: "bad"}


def test_what_is_no_file_gives_its_place_up(registry: TestRegistry, store: PackageStore) -> None:
    """An entry without a hash whose manifest is an image index is on no page; a file may take its place."""
    publish(store, *make_wheel())
    publish(store, *make_sdist())
    document = registry.document("1.0")
    nested = registry.put("nested", {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []})
    entry = document["manifests"][0]
    del entry["annotations"]["com.pyoci.sha256_digest"]
    entry |= {"digest": str(nested.digest), "size": len(nested.body), "mediaType": IMAGE_INDEX}
    registry.put("1.0", document)
    fresh, other = registry.store(), make_wheel(requires=["other"])[1]
    assert names(fresh) == [SDIST]
    publish(fresh, WHEEL, other)
    assert set(names(fresh)) == {WHEEL, SDIST}
    assert len(registry.document("1.0")["manifests"]) == 2
    assert content(fresh, WHEEL) == other


def test_metadata_whose_config_blob_is_gone_is_read_from_the_wheel(
    registry: TestRegistry, store: PackageStore
) -> None:
    """pip and uv stop where METADATA was announced and can't be had."""
    publish_wheel(store, requires=["other"])
    annotations = registry.document("1.0")["manifests"][0]["annotations"]
    lose(registry, annotations["com.pyoci.config_digest"].partition(":")[2])
    for _ in range(2):
        text = registry.store().metadata(ACME, HELLO, WHEEL, NOBODY)
        assert hashlib.sha256(text).hexdigest() == annotations["com.pyoci.core_metadata"]


def test_metadata_from_the_wheel_is_the_one_that_was_announced(
    registry: TestRegistry, store: PackageStore
) -> None:
    """Another one is not given in its place; and none where the wheel is gone, too."""
    publish_wheel(store)
    document = registry.document("1.0")
    annotations = document["manifests"][0]["annotations"]
    lose(registry, annotations["com.pyoci.config_digest"].partition(":")[2])
    annotations["com.pyoci.core_metadata"] = "0" * 64
    registry.put("1.0", document)
    with pytest.raises(ProtocolError, match="not the one that was announced"):
        registry.store().metadata(ACME, HELLO, WHEEL, NOBODY)
    lose(registry, annotations["com.pyoci.sha256_digest"])
    with pytest.raises(NotFound):
        registry.store().metadata(ACME, HELLO, WHEEL, NOBODY)


def lose(registry: TestRegistry, sha256: str) -> None:
    """Take a blob out of the registry's directory."""
    (path,) = (path for path in registry.directory.rglob(sha256) if path.is_file())
    path.unlink()


def _pushed_anew(registry: TestRegistry, entries: list[Any]) -> Iterator[Any]:
    """The entries, each with a manifest of another digest."""
    for entry in entries:
        annotations = entry["annotations"]
        layer = {
            "mediaType": "application/pyoci.package.v1",
            "digest": f"sha256:{annotations['com.pyoci.sha256_digest']}",
            "size": int(annotations["com.pyoci.size"]),
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {**layer, "mediaType": "application/vnd.oci.empty.v1+json"},
            "layers": [layer],
            "annotations": {"org.example": "anew"},
        }
        made = registry.put("anew", manifest)
        yield {**entry, "digest": str(made.digest), "size": len(made.body)}


class TestTogether:
    """Several write one version at the same moment."""

    UPLOADS = tuple(make_wheel(tag=f"cp3{minor}-none-any") for minor in range(16))

    def test_in_one_process(self, store: PackageStore) -> None:
        """Every file that was taken is on the page."""
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda upload: publish(store, *upload), self.UPLOADS))
        assert len(names(store)) == 16

    def test_in_two_processes_that_know_nothing_of_each_other(self, tmp_path: Path) -> None:
        """Read-back with jitter finds a change that was lost, and makes it again."""
        gateways = [TestRegistry(tmp_path / "shared").gateway for _ in range(2)]
        stores = [PackageStore(gateway) for gateway in gateways]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: publish(stores[n % 2], *self.UPLOADS[n]), range(8)))
        assert len(names(stores[0])) == 8

    def test_a_change_that_is_overwritten_is_made_again(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """A neighbour who read before we wrote puts back the image index without our file."""
        publish(store, *make_sdist())
        old = registry.document("1.0")
        overwritten = threading.Event()

        def overwrite(line: str) -> None:
            wrote = [call for call in registry.calls if call.startswith("PUT") and call.endswith("/1.0")]
            if len(wrote) == 2 and line.startswith("GET") and not overwritten.is_set():
                overwritten.set()
                registry.put("1.0", old)

        registry.before = overwrite
        publish(store, *make_wheel())
        assert overwritten.is_set()
        assert sorted(names(store)) == sorted([WHEEL, SDIST])

    @pytest.mark.parametrize("contested", [False, True])
    def test_where_others_write_it_is_looked_back_later(
        self, registry: TestRegistry, contested: bool
    ) -> None:
        """Somebody who shares nothing with us may be slower than we are."""
        slept: list[float] = []
        store = registry.store(sleep=slept.append)
        publish(store, *make_sdist())
        if contested:
            document = registry.document("1.0")
            document["annotations"]["com.example"] = "anothers"
            registry.put("1.0", document)
        slept.clear()
        publish(store, *make_wheel())
        assert len(slept) == 2
        # By half a second at least, however long the changes took; and there is jitter of a tenth.
        assert (slept[1] - slept[0] > 0.3) is contested

    def test_a_neighbours_delete_stays_a_delete(self, registry: TestRegistry, store: PackageStore) -> None:
        """The read-back looks for our own change only."""
        publish(store, *make_sdist())
        deleted = threading.Event()

        def delete(line: str) -> None:
            wrote = [call for call in registry.calls if call.startswith("PUT") and call.endswith("/1.0")]
            if len(wrote) == 2 and line.startswith("GET") and not deleted.is_set():
                deleted.set()
                document = registry.document("1.0")
                document["manifests"] = document["manifests"][1:]
                registry.put("1.0", document)

        registry.before = delete
        publish(store, *make_wheel())
        assert deleted.is_set()
        assert names(store) == [WHEEL]

    def test_an_endless_fight_ends(self, registry: TestRegistry, store: PackageStore) -> None:
        """After some rounds the uploader is told to try again."""
        publish(store, *make_sdist())
        old, fighting = registry.document("1.0"), [True]

        def overwrite(line: str) -> None:
            after_write = registry.calls[-2:-1] and registry.calls[-2].startswith("PUT")
            if fighting[0] and after_write and line.startswith("GET") and line.endswith("/1.0"):
                fighting[0] = False
                old["annotations"]["com.example.round"] = str(len(registry.calls))
                registry.put("1.0", old)
                fighting[0] = True

        registry.before = overwrite
        with pytest.raises(Unreachable, match="overwritten by others again and again"):
            publish(store, *make_wheel())


def test_a_registry_that_fails_is_given_time(registry: TestRegistry) -> None:
    """Further attempts come after pauses that grow: at once they would only make it worse."""
    slept: list[float] = []
    store = registry.store(sleep=slept.append)
    registry.refuse = {r"PUT acme/hello_world/manifests/1\.0$": (503, "UNAVAILABLE")}
    with pytest.raises(PyOCIError):
        publish_wheel(store)
    assert sum(slept) > 1
    registry.refuse = {}
    publish_wheel(store)
    assert len(names(store)) == 1
