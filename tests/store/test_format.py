"""The stored format, read and written, with hand-written documents."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pyoci.errors import Denied, InvalidRequest, NotFound
from pyoci.events import Events
from pyoci.oci.models import IMAGE_INDEX, IMAGE_MANIFEST
from pyoci.oci.references import Digest
from pyoci.store.service import PackageStore
from tests.builders import make_metadata, make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, content, names, page, publish, publish_wheel

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 20, 20, 23, 36, 123456, tzinfo=UTC)


def golden(name: str, **values: object) -> Any:
    text = (GOLDEN / f"{name}.json").read_text()
    for key, value in values.items():
        text = text.replace(f"@{key.upper()}@", str(value))
    return json.loads(text)


def put_rust_package(
    registry: TestRegistry, filename: str, wheel: bytes, tag: str = "1.0", *, with_hash: bool = True
) -> None:
    """Publish like the Rust PyOCI: empty config, no size, and none of our annotations."""
    sha256 = registry.put_blob(wheel).hex
    registry.put_blob(b"{}")
    manifest = golden("rust-manifest", sha256=sha256, size=len(wheel))
    child = registry.put("temporary", manifest)
    values = {"manifest": child.digest.hex, "manifest_size": len(child.body)}
    image_index = golden("rust-image-index", sha256=sha256, **values)
    annotations = image_index["manifests"][0]["annotations"]
    if not with_hash:
        del annotations["com.pyoci.sha256_digest"], annotations["com.pyoci.project_urls"]
    image_index["manifests"][0]["platform"]["architecture"] = filename.split("-", 2)[2]
    registry.put(tag, image_index)


class TestWhatTheRustPyOCIWrote:
    """Packages without any of our annotations are listed, installed and deleted."""

    def test_is_listed(self, registry: TestRegistry, store: PackageStore) -> None:
        """With a rebuilt file name, its own time and URLs, and without size and metadata."""
        filename, wheel = make_wheel()
        put_rust_package(registry, filename, wheel)
        (file,) = page(store).files
        assert file.filename == filename
        assert file.sha256 == hashlib.sha256(wheel).hexdigest()
        assert file.size is None
        assert file.core_metadata is None
        assert file.upload_time == datetime(2025, 1, 15, 8, 3, 12, tzinfo=UTC)
        assert file.project_urls == {"Repository": "https://example.org/hello"}

    def test_is_downloaded(self, registry: TestRegistry, store: PackageStore) -> None:
        """By the digest in the annotation. The size comes from the registry."""
        filename, wheel = make_wheel()
        put_rust_package(registry, filename, wheel)
        assert content(store, filename) == wheel
        described = store.describe(make_namespace(), HELLO, filename, NOBODY)
        assert described.size == len(wheel)

    def test_needs_no_child_to_be_downloaded(self, registry: TestRegistry, store: PackageStore) -> None:
        """Clean-up policies purge the untagged children of an image index (quirk 1)."""
        filename, wheel = make_wheel()
        put_rust_package(registry, filename, wheel)
        child = registry.document("1.0")["manifests"][0]["digest"]
        registry.calls.clear()
        assert content(store, filename) == wheel
        assert not [line for line in registry.calls if child in line]

    def test_of_its_earliest_versions_is_listed(self, registry: TestRegistry, store: PackageStore) -> None:
        """If the annotation has no hash, the layer in the child manifest has it."""
        filename, wheel = make_wheel()
        put_rust_package(registry, filename, wheel, with_hash=False)
        (file,) = page(store).files
        assert file.sha256 == hashlib.sha256(wheel).hexdigest()
        assert content(store, filename) == wheel

    def test_of_its_earliest_versions_hides_no_other_when_it_is_cleaned_away(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """Without its manifest a file has no hash, so it is left out."""
        put_rust_package(registry, *make_wheel(), with_hash=False)
        child = Digest.parse(registry.document("1.0")["manifests"][0]["digest"])
        registry.session().delete(make_repository(), child)
        kept = publish_wheel(store, "2.0")
        assert names(store) == [kept.filename]

    @pytest.mark.parametrize(
        ("tag", "filename"),
        [
            ("1.0RC1", "hello_world-1.0RC1-py3-none-any.whl"),
            ("1.0-ubuntu_1", "hello_world-1.0+ubuntu_1-py3-none-any.whl"),
        ],
    )
    def test_under_an_unnormalised_tag_is_found(
        self, registry: TestRegistry, store: PackageStore, tag: str, filename: str
    ) -> None:
        """A file is looked for under the normalised tag, then under the tag as the file name spells the
        version.
        """
        put_rust_package(registry, filename, b"wheel", tag)
        assert names(store) == [filename]
        assert content(store, filename) == b"wheel"
        store.delete(make_namespace(), HELLO, filename, NOBODY)
        assert names(store) == []

    def test_beside_ours_of_the_same_version_is_another_file(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """Each spelling has its own bytes, and is deleted by itself. The version means both."""
        ours, theirs = "hello_world-1.0rc1-py3-none-any.whl", "hello_world-1.0RC1-py3-none-any.whl"
        publish(store, *make_wheel(version="1.0rc1"))
        put_rust_package(registry, theirs, b"wheel", "1.0RC1")
        assert names(store) == [ours, theirs]
        assert content(store, theirs) == b"wheel"
        assert content(store, ours) == make_wheel(version="1.0rc1")[1]
        store.yank(make_namespace(), HELLO, "1.0rc1", "both", NOBODY)
        assert [file.yanked for file in page(store).files] == ["both", "both"]
        store.delete(make_namespace(), HELLO, theirs, NOBODY)
        assert names(store) == [ours]
        store.delete(make_namespace(), HELLO, "1.0RC1", NOBODY)
        assert names(store) == []

    def test_announces_metadata_once_it_was_read(self, registry: TestRegistry, store: PackageStore) -> None:
        """By the first download of the wheel. pip would fail if METADATA were announced and then missing."""
        filename, wheel = make_wheel()
        put_rust_package(registry, filename, wheel)
        assert page(store).files[0].core_metadata is None
        assert content(store, filename) == wheel
        announced = page(store).files[0].core_metadata
        text = store.metadata(make_namespace(), HELLO, filename, NOBODY)
        assert hashlib.sha256(text).hexdigest() == announced
        registry.calls.clear()
        content(store, filename)
        assert len(registry.calls) == 1

    def test_has_no_metadata_where_it_can_not_be_read(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """METADATA that isn't announced is a 404."""
        filename, _ = make_wheel()
        put_rust_package(registry, filename, b"no wheel")
        assert content(store, filename) == b"no wheel"
        with pytest.raises(NotFound, match="download the file"):
            store.metadata(make_namespace(), HELLO, filename, NOBODY)
        assert page(store).files[0].core_metadata is None

    def test_keeps_everything_when_we_add_a_file(self, registry: TestRegistry, store: PackageStore) -> None:
        """Its entry in the image index isn't changed."""
        put_rust_package(registry, *make_wheel())
        before = registry.document("1.0")
        other, wheel = make_wheel(tag="py2-none-any")
        publish(store, other, wheel)
        after = registry.document("1.0")
        assert after["manifests"][0] == before["manifests"][0]
        assert after["annotations"] == before["annotations"]
        assert sorted(names(store)) == [other, make_wheel()[0]]

    def test_is_deleted_by_version(self, registry: TestRegistry, store: PackageStore) -> None:
        """The Rust PyOCI has no other kind of delete."""
        put_rust_package(registry, *make_wheel())
        store.delete(make_namespace(), HELLO, "1.0", NOBODY)
        assert names(store) == []


class TestWhatLostItsTypeInACopy:
    """Older versions of containers/image drop `artifactType` from an image index."""

    @staticmethod
    def lose(registry: TestRegistry, tag: str = "1.0") -> Any:
        """Copy the tag like these versions do; returns the copy."""
        document = registry.document(tag)
        del document["artifactType"]
        registry.put(tag, document)
        return document

    def test_ours_is_read_and_repaired(self, registry: TestRegistry, store: PackageStore) -> None:
        """It is recognised by its annotations. The next change writes the type again, which the Rust PyOCI
        needs.
        """
        publish(store, *make_wheel())
        lost = self.lose(registry)
        assert names(store) == [make_wheel()[0]]
        assert content(store, make_wheel()[0]) == make_wheel()[1]
        publish(store, *make_wheel())  # it is there
        assert registry.document("1.0") == lost
        store.yank(make_namespace(), HELLO, "1.0", "broken", NOBODY)
        assert page(store).files[0].yanked == "broken"
        assert registry.document("1.0")["artifactType"] == "application/pyoci.package.v1"

    def test_that_of_the_rust_pyoci(self, registry: TestRegistry, store: PackageStore) -> None:
        """Its earliest versions wrote no annotation: the file's manifest shows what it is."""
        put_rust_package(registry, *make_wheel(), with_hash=False)
        self.lose(registry)
        other, wheel = make_wheel(tag="py2-none-any")
        assert names(store) == [make_wheel()[0]]
        publish(store, other, wheel)
        assert sorted(names(store)) == [other, make_wheel()[0]]

    def test_an_emptied_version(self, registry: TestRegistry, store: PackageStore) -> None:
        """A file can be added to it."""
        registry.refuse = {"DELETE": (405, "UNSUPPORTED")}
        publish_wheel(store, "1.0")
        store.delete(make_namespace(), HELLO, "1.0", NOBODY)
        self.lose(registry)
        publish_wheel(store, "1.0")
        assert names(store) == [make_wheel()[0]]

    @pytest.mark.parametrize("os", ["any", "linux"])
    def test_a_foreign_image_index_is_skipped_and_logged_once(self, registry: TestRegistry, os: str) -> None:
        """Also if its manifests have to be read, or are gone. It is never written to."""
        heard: list[tuple[str, dict[str, object]]] = []
        store = registry.store(Events(lambda event, **facts: heard.append((event, facts))))
        publish_wheel(store, "1.0")
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2}
        config["digest"] = str(registry.put_blob(b"{}"))
        manifest = {"schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": config, "layers": []}
        child = registry.put("temporary", manifest)
        entry = {"mediaType": IMAGE_MANIFEST, "digest": str(child.digest), "size": len(child.body)}
        entry["platform"] = {"architecture": "x.whl", "os": os}
        image = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [entry]}
        registry.put("2.0", image)
        heard.clear()
        for _ in range(3):
            assert names(store) == [make_wheel()[0]]
            publish_wheel(store, "3.0")
            store.delete(make_namespace(), HELLO, "3.0", NOBODY)
        passed = [facts for event, facts in heard if event == "skipped"]
        assert [(facts["what"], facts["level"]) for facts in passed] == [("2.0", "info")]
        with pytest.raises(Denied, match="something other than a Python package"):
            publish_wheel(store, "2.0")
        assert registry.document("2.0") == image


class TestMarker:
    """A project that was emptied leaves a marker, so upstream is never asked for its name."""

    def test_is_as_documented(self, registry: TestRegistry) -> None:
        """An image index of our type, without manifests, under a tag that isn't a version."""
        store = registry.store(now=lambda: NOW)
        publish(store, *make_wheel())
        assert not registry.exists("0--pyoci")
        store.delete(make_namespace(), HELLO, "1.0", NOBODY)
        assert registry.document("0--pyoci") == golden("our-marker")

    def test_is_shown_nowhere(self, registry: TestRegistry, store: PackageStore) -> None:
        """Neither as a file nor as a version, beside other versions and alone."""
        registry.put("0--pyoci", golden("our-marker"))
        assert page(store).files == ()
        published = publish_wheel(store, "1.0")
        assert page(store).files == (published,)
        assert [str(version) for version in page(store).versions] == ["1.0"]
        with pytest.raises(InvalidRequest, match="neither a file name nor a version"):
            store.delete(make_namespace(), HELLO, "0--pyoci", NOBODY)
        assert registry.document("0--pyoci") == golden("our-marker")

    def test_keeps_annotations_of_others(self, registry: TestRegistry, store: PackageStore) -> None:
        """It is written once, and not overwritten."""
        annotated = golden("our-marker")
        annotated["annotations"]["org.example"] = "kept"
        registry.put("0--pyoci", annotated)
        for _ in range(2):
            publish_wheel(store, "1.0")
            store.delete(make_namespace(), HELLO, "1.0", NOBODY)
        assert registry.document("0--pyoci") == annotated

    def test_a_foreign_image_under_its_tag_is_kept(self, registry: TestRegistry, store: PackageStore) -> None:
        """It keeps the name as well as a marker."""
        image = registry.put("0--pyoci", {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []})
        publish_wheel(store, "1.0")
        store.delete(make_namespace(), HELLO, "1.0", NOBODY)
        assert registry.document("0--pyoci") == json.loads(image.body)

    def test_stays_where_tags_cannot_be_deleted(self, registry: TestRegistry, store: PackageStore) -> None:
        """Beside the emptied version, which has another digest."""
        registry.refuse = {"DELETE": (405, "UNSUPPORTED")}
        publish_wheel(store, "1.0")
        store.delete(make_namespace(), HELLO, "1.0", NOBODY)
        assert registry.document("1.0")["manifests"] == registry.document("0--pyoci")["manifests"] == []
        assert registry.document("1.0") != registry.document("0--pyoci")
        assert names(store) == []


def test_written_documents_are_as_documented(registry: TestRegistry) -> None:
    """One layer, the shared annotations, the platform: compared with golden files."""
    store = registry.store(now=lambda: NOW)
    headers = [
        ("Project-URL", "Homepage, https://example.org"),
        ("Project-URL", "Source Code, https://example.org/source"),
        ("Project-URL", "docs, https://example.org/docs"),
        ("Summary", "Says hello"),
        ("License-Expression", "MIT OR Apache-2.0"),
        ("Classifier", "PyOCI :: Label :: team :: alpha"),
        (
            "Classifier",
            "PyOCI :: Label :: org.opencontainers.image.source :: https://example.org/classifier",
        ),
    ]
    filename, wheel = make_wheel(requires_python=">=3.9", extra_headers=headers)
    publish(store, filename, wheel)
    image_index = registry.document("1.0")
    manifest_digest = image_index["manifests"][0]["digest"]
    manifest = registry.document(manifest_digest)
    metadata = make_metadata(requires_python=">=3.9", extra_headers=headers)
    config = {
        "filename": filename,
        "size": len(wheel),
        "sha256": hashlib.sha256(wheel).hexdigest(),
        "filetype": "bdist_wheel",
        "coreMetadata": metadata.decode(),
    }
    config_bytes = json.dumps(config, separators=(",", ":")).encode()
    values = {
        "sha256": config["sha256"],
        "size": len(wheel),
        "config": hashlib.sha256(config_bytes).hexdigest(),
        "config_size": len(config_bytes),
        "metadata": hashlib.sha256(metadata).hexdigest(),
        "upload": manifest["annotations"]["com.pyoci.upload"],
        "manifest": manifest_digest.removeprefix("sha256:"),
        "manifest_size": image_index["manifests"][0]["size"],
    }
    assert manifest == golden("our-manifest", **values)
    assert image_index == golden("our-image-index", **values)
    assert store.metadata(make_namespace(), HELLO, filename, NOBODY) == metadata
