"""Repair of versions from which a registry's clean-up has removed manifests, config blobs or files."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pyoci.errors import (
    AlreadyExists,
    NotFound,
    ProtocolError,
)
from pyoci.oci.references import Digest
from pyoci.store.service import PackageStore
from tests.builders import make_metadata, make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, content, names, page, publish, publish_wheel, yanked

ACME = make_namespace()
WHEEL, SDIST = make_wheel()[0], make_sdist()[0]


class TestPurged:
    """A clean-up policy took the untagged manifest of a file, and the registry checks references."""

    @pytest.fixture(autouse=True)
    def _purged(self, registry: TestRegistry, store: PackageStore) -> None:
        publish(store, *make_wheel())
        publish(store, *make_sdist())
        child = registry.document("1.0")["manifests"][0]["digest"]
        registry.session().delete(make_repository(), Digest.parse(child))

    def test_files_are_still_served(self, store: PackageStore) -> None:
        """They are found by the digest in the entry; so is their metadata (quirk 1)."""
        assert content(store, WHEEL) == make_wheel()[1]
        assert store.metadata(ACME, HELLO, WHEEL, NOBODY)

    def test_the_version_can_still_be_changed(self, registry: TestRegistry, store: PackageStore) -> None:
        """The manifest is pushed again: upload, yank and delete work, and nothing else changes."""
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

    @pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"])
    def test_each_code_for_a_lost_manifest_is_repaired(
        self, registry: TestRegistry, store: PackageStore, code: str
    ) -> None:
        """Registries refuse an image index with one of three codes while a manifest that it lists is lost."""

        def look(line: str) -> None:
            if re.search("PUT .*/manifests/sha256:", line):
                registry.refuse.clear()

        registry.refuse, registry.before = {r"PUT .*/manifests/1\.0$": (400, code)}, look
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        assert yanked(registry.store()) == {WHEEL: "broken", SDIST: None}
        assert all(registry.exists(child["digest"]) for child in registry.document("1.0")["manifests"])

    @pytest.mark.parametrize("change", ["yank", "delete"])
    def test_an_update_that_was_overwritten_is_noticed_under_another_digest(
        self, registry: TestRegistry, store: PackageStore, change: str
    ) -> None:
        """A writer elsewhere pushed another manifest, and then the version as it was before our update."""
        before, overwritten = registry.document("1.0"), threading.Event()

        def overwrite(line: str) -> None:
            wrote = any(call.startswith("PUT") and call.endswith("/1.0") for call in registry.calls[begun:])
            if wrote and line.startswith("GET") and line.endswith("/1.0") and not overwritten.is_set():
                overwritten.set()
                anew = registry.document("1.0")["manifests"] if change == "yank" else before["manifests"]
                for entry in anew:
                    entry["annotations"].pop("com.pyoci.yanked", None)
                registry.put("1.0", {**before, "manifests": [*_with_other_manifests(registry, anew)]})

        begun, registry.before = len(registry.calls), overwrite
        if change == "yank":
            store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
            assert yanked(store) == {WHEEL: "broken", SDIST: None}
        else:
            store.delete(ACME, HELLO, WHEEL, NOBODY)
            assert names(store) == [SDIST]
        assert overwritten.is_set()

    def test_a_file_whose_config_blob_is_lost_gets_an_empty_one(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """Like the files of the Rust PyOCI."""
        config = registry.document("1.0")["manifests"][0]["annotations"]["com.pyoci.config_digest"]
        registry.refuse = {f"HEAD .*/blobs/{config}": (404, "BLOB_UNKNOWN")}
        publish(store, *make_wheel(tag="py2-none-any"))
        assert len(names(store)) == 3

    def test_a_version_with_a_lost_file_can_be_changed(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """The file stays listed, and another of its name is refused. The same file can be uploaded again."""
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
        """Files, config blobs and manifests are gone, as after garbage-collect --delete-untagged. Each upload
        restores its own, and a yanked file stays yanked.
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


def test_metadata_whose_config_blob_is_lost_is_read_from_the_wheel(
    registry: TestRegistry, store: PackageStore
) -> None:
    """pip and uv fail if METADATA was announced and isn't there."""
    publish_wheel(store, requires=["other"])
    annotations = registry.document("1.0")["manifests"][0]["annotations"]
    lose(registry, annotations["com.pyoci.config_digest"].partition(":")[2])
    for _ in range(2):
        text = registry.store().metadata(ACME, HELLO, WHEEL, NOBODY)
        assert hashlib.sha256(text).hexdigest() == annotations["com.pyoci.core_metadata"]


def test_metadata_from_the_wheel_is_the_one_that_was_announced(
    registry: TestRegistry, store: PackageStore
) -> None:
    """METADATA with another hash isn't served. If the wheel is lost, too, there is none."""
    publish_wheel(store)
    document = registry.document("1.0")
    annotations = document["manifests"][0]["annotations"]
    lose(registry, annotations["com.pyoci.config_digest"].partition(":")[2])
    annotations["com.pyoci.core_metadata"] = "0" * 64
    registry.put("1.0", document)
    with pytest.raises(ProtocolError, match="another hash than the image index says"):
        registry.store().metadata(ACME, HELLO, WHEEL, NOBODY)
    lose(registry, annotations["com.pyoci.sha256_digest"])
    with pytest.raises(NotFound):
        registry.store().metadata(ACME, HELLO, WHEEL, NOBODY)


def lose(registry: TestRegistry, sha256: str) -> None:
    """Remove a blob from the registry's directory."""
    (path,) = (path for path in registry.directory.rglob(sha256) if path.is_file())
    path.unlink()


def _with_other_manifests(registry: TestRegistry, entries: list[Any]) -> Iterator[Any]:
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
