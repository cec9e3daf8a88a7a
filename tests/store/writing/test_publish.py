"""Publish, yank and delete: what is written, conflicts, and what is refused."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pyoci.distributions.filenames import SDIST_ENDINGS
from pyoci.distributions.names import ProjectName
from pyoci.errors import (
    AlreadyExists,
    Denied,
    InvalidRequest,
    NotFound,
    NotSupported,
    Unauthorized,
)
from pyoci.oci.models import IMAGE_INDEX
from pyoci.oci.references import Digest, Tag
from pyoci.store.models import Imported
from pyoci.store.service import PackageStore
from tests.builders import make_metadata, make_sdist, make_tar, make_wheel, make_zip
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import (
    HELLO,
    NOBODY,
    content,
    make_foreign_image,
    make_upload,
    names,
    page,
    publish,
    publish_wheel,
    yanked,
)
from tests.stores import page_of

ACME = make_namespace()
WHEEL, SDIST = make_wheel()[0], make_sdist()[0]
SPELLINGS = [
    ("Hello.World", "1.0", "py3-none-any"),
    ("hello-world", "1.0+local.1", "py3-none-any"),
    ("hello-world", "1!2.0", "py3-none-any"),
    ("hello-world", "1!2.0+cu121", "cp311-cp311-manylinux_2_17_x86_64"),
    ("hello-world", "1.0rc1.post2.dev3", "py2.py3-none-any"),
]


@pytest.mark.parametrize(("name", "version", "tag"), SPELLINGS)
def test_a_wheel_is_downloaded_as_it_was_uploaded(
    store: PackageStore, name: str, version: str, tag: str
) -> None:
    """Under its own file name, however name and version are spelled."""
    filename, wheel = make_wheel(name, version, tag)
    published = publish(store, filename, wheel)
    (file,) = page(store).files
    assert file == published
    assert (file.filename, str(file.version), file.size) == (filename, version, len(wheel))
    assert content(store, filename) == wheel
    metadata = store.metadata(make_namespace(), HELLO, filename, NOBODY)
    assert metadata == make_metadata(name, version)


@pytest.mark.parametrize("ending", SDIST_ENDINGS)
def test_an_sdist_is_downloaded_as_it_was_uploaded(store: PackageStore, ending: str) -> None:
    """It has no core metadata on the page, for that may change when it is built."""
    filename, sdist = make_sdist(ending=ending)
    file = publish(store, filename, sdist, filetype="sdist")
    assert file.core_metadata is None
    assert content(store, filename) == sdist
    with pytest.raises(NotFound):
        store.metadata(make_namespace(), HELLO, filename, NOBODY)


def test_a_wheel_whose_metadata_is_not_utf8_offers_none(store: PackageStore) -> None:
    """JSON could not contain it byte for byte. The wheel itself is served."""
    metadata = make_metadata().replace(b"\n\n", b"\nAuthor: Zo\xeb\n\n")
    files = {"hello_world-1.0.dist-info/METADATA": metadata}
    wheel = make_zip(files)
    file = publish(store, make_wheel()[0], wheel)
    assert file.core_metadata is None
    assert content(store, file.filename) == wheel


def test_the_image_index_is_written_last(registry: TestRegistry, store: PackageStore) -> None:
    """A reader never sees a dangling reference. Everything is pushed once."""
    publish_wheel(store)
    writes = [line for line in registry.calls if line.startswith("PUT")]
    assert [line.split("/")[2] for line in writes] == ["blobs", "blobs", "manifests", "manifests"]
    assert "sha256:" in writes[2]
    assert writes[3].endswith("manifests/1.0")


def test_the_same_file_again_is_no_conflict(registry: TestRegistry, store: PackageStore) -> None:
    """twine repeats an upload whose answer was lost. Nothing is written, and the upload time stays.

    The registry is asked for the status, and whether it still has the file, its config blob and its manifest.
    """
    first = publish_wheel(store)
    registry.calls.clear()
    assert publish_wheel(store) == first
    assert [line.split()[0] for line in registry.calls] == ["GET", "GET", "HEAD", "HEAD", "GET"]


def test_another_file_of_that_name_is_a_conflict(store: PackageStore) -> None:
    """The message is the one that poetry, pdm and uv recognise."""
    first = publish_wheel(store)
    with pytest.raises(AlreadyExists) as caught:
        publish_wheel(store, requires=["other"])
    expected = f"File already exists ('{first.filename}', with sha256 hash '{first.sha256}')."
    assert caught.value.message == expected
    assert content(store, first.filename) == make_wheel()[1]


def test_a_conflict_is_found_under_an_unnormalised_tag(registry: TestRegistry, store: PackageStore) -> None:
    """A file that the Rust PyOCI stored under 1.0RC1 is the same as ours under 1.0rc1."""
    publish_wheel(store, "1.0rc1")
    registry.put("1.0RC1", registry.document("1.0rc1"))
    registry.session().delete(make_namespace().repository(HELLO), Tag.parse("1.0rc1"))
    filename, wheel = make_wheel(version="1.0RC1", requires=["other"])
    with pytest.raises(AlreadyExists):
        publish(store, filename, wheel)


def test_files_of_one_version_share_an_image_index(store: PackageStore) -> None:
    """It lists them all."""
    uploads = [make_wheel(), make_wheel(tag="py2-none-any"), make_wheel(build="2"), make_sdist()]
    for filename, data in uploads:
        publish(store, filename, data)
    assert sorted(names(store)) == sorted(filename for filename, _ in uploads)


def test_labels_and_urls_come_from_the_form(registry: TestRegistry, store: PackageStore) -> None:
    """Labels become annotations of the manifest; web URLs become annotations of the entry."""
    urls = ("Home, https://example.org", "Bad, javascript:alert(1)", ", https://example.org/unnamed")
    classifiers = ("PyOCI :: Label :: team :: a :: b", "Programming Language :: Python")
    file = publish(store, *make_wheel(), classifiers=classifiers, project_urls=urls)
    manifest = registry.document(registry.document("1.0")["manifests"][0]["digest"])
    assert manifest["annotations"]["team"] == "a :: b"
    image = "org.opencontainers.image."
    made = {"com.pyoci.upload", f"{image}title", f"{image}version", f"{image}created"}
    assert set(manifest["annotations"]) == {"team", *made}
    assert file.project_urls == {"Home": "https://example.org"}


@pytest.mark.parametrize("text", ["[]", '[{"a": "\u00e9\\u00e9"}]\n'])
def test_attestations_are_kept(registry: TestRegistry, store: PackageStore, text: str) -> None:
    """In the config blob, as they were sent. METADATA in that blob can still be read."""
    file = publish(store, *make_wheel(), attestations=text)
    config = _config(registry)
    assert config["attestations"] == text
    assert store.metadata(make_namespace(), HELLO, file.filename, NOBODY) == config["coreMetadata"].encode()
    assert file.core_metadata is not None


def test_attestations_of_an_sdist_are_kept(registry: TestRegistry, store: PackageStore) -> None:
    """Beside a config blob without METADATA; without attestations there is no key for them."""
    publish(store, *make_sdist(), attestations="[1]")
    assert _config(registry)["attestations"] == "[1]"
    publish_wheel(store, "2.0")
    assert "attestations" not in _config(registry, "2.0")


def _config(registry: TestRegistry, tag: str = "1.0") -> Any:
    """The config blob of a version's first file."""
    manifest = registry.document(registry.document(tag)["manifests"][0]["digest"])
    digest = Digest.parse(manifest["config"]["digest"])
    return json.loads(b"".join(registry.session().open_blob(make_repository(), digest).pieces))


@pytest.mark.parametrize("missing", [{"name": ""}, {"version": ""}, {"name": "", "version": ""}])
def test_what_the_form_does_not_say_is_in_the_file_name(store: PackageStore, missing: dict[str, Any]) -> None:
    """Hand-written requests leave out the version."""
    publish(store, *make_wheel(), **missing)
    assert names(store) == [WHEEL]


# Sdists whose name can only be read by somebody who knows the project.
HYPHENS = [
    pytest.param("hello-world", "2.1.2-beta", "2.1.2b0", id="a pre-release"),
    pytest.param("Hello.World", "1.2.6-20050316", "1.2.6.post20050316", id="a date, as elementtree has it"),
    pytest.param("hello-world", "1-0+ubuntu-3", "1.post0+ubuntu.3", id="a local version"),
]


@pytest.mark.parametrize(("spelled", "version", "normalized"), HYPHENS)
def test_an_sdist_with_a_hyphen_in_its_version(
    store: PackageStore, spelled: str, version: str, normalized: str
) -> None:
    """The form names project and version. The file is listed, downloaded, yanked and deleted by its name."""
    top = f"{spelled}-{version}"
    data = make_tar({f"{top}/PKG-INFO": make_metadata(spelled, version), f"{top}/setup.py": b""})
    publish(store, f"{top}.tar.gz", data, name=spelled, version=version)
    (file,) = page(store).files
    assert (file.filename, str(file.version)) == (f"{top}.tar.gz", normalized)
    assert content(store, file.filename) == data
    store.yank(ACME, HELLO, file.filename, "broken", NOBODY)
    assert yanked(store) == {file.filename: "broken"}
    store.delete(ACME, HELLO, file.filename, NOBODY)
    assert names(store) == []


def _wheel(**overrides: Any) -> tuple[str, bytes]:
    return make_wheel(**overrides)


BAD: list[tuple[str, str, bytes, dict[str, Any], str]] = [
    ("name differs", *_wheel(), {"name": "other"}, "the form's name is 'other'; expected hello-world"),
    ("version differs", *_wheel(), {"version": "2.0"}, "the form's version is '2.0'; expected 1.0"),
    ("version is none", *_wheel(), {"version": "one"}, "'one' is not a version"),
    ("filetype differs", *_wheel(), {"filetype": "sdist"}, "expected bdist_wheel"),
    (
        "metadata of another",
        "hello_world-1.0-py3-none-any.whl",
        _wheel(name="other")[1],
        {},
        "of hello-world 1.0",
    ),
    ("sha256 differs", *_wheel(), {"digests": {"sha256": "0" * 64}}, "sha256 digest is"),
    ("md5 differs", *_wheel(), {"digests": {"md5": "0" * 32}}, "md5 digest is"),
    ("blake2 differs", *_wheel(), {"digests": {"blake2b_256": "0" * 64}}, "blake2b_256 digest is"),
    ("512 bits of blake2 differ", *_wheel(), {"digests": {"blake2b": "0" * 128}}, "blake2b digest is"),
    ("not a zip", "hello_world-1.0-py3-none-any.whl", b"no zip", {}, "zip"),
    ("no metadata", "hello_world-1.0-py3-none-any.whl", make_zip({"a.py": b""}), {}, "METADATA"),
    ("path", "../hello_world-1.0-py3-none-any.whl", _wheel()[1], {}, "path"),
    ("slash", "a/hello_world-1.0-py3-none-any.whl", _wheel()[1], {}, "path"),
    ("NUL", "hello_world-1.0\0-py3-none-any.whl", _wheel()[1], {}, "not a file name"),
    ("newline", "hello_world-1.0\n-py3-none-any.whl", _wheel()[1], {}, "not a file name"),
    ("egg", "hello_world-1.0.egg", _wheel()[1], {}, "neither a wheel nor an sdist"),
    (
        "long tag",
        *_wheel(version="1.0+" + "a" * 130),
        {},
        "at most 128 characters",
    ),
    (
        "label of ours",
        *_wheel(),
        {"classifiers": ("PyOCI :: Label :: com.pyoci.yanked :: x",)},
        "PyOCI's own",
    ),
    ("control in label", *_wheel(), {"classifiers": ("PyOCI :: Label :: a :: b\n",)}, "control"),
]


@pytest.mark.parametrize(
    ("filename", "data", "overrides", "sentence"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_a_file_that_does_not_match_its_form_is_refused(
    registry: TestRegistry,
    store: PackageStore,
    filename: str,
    data: bytes,
    overrides: dict[str, Any],
    sentence: str,
) -> None:
    """The message says what was wrong and what was expected. The registry is not asked."""
    with pytest.raises(InvalidRequest) as caught:
        publish(store, filename, data, **overrides)
    assert sentence in caught.value.message
    assert registry.calls == []


def test_digests_that_agree_are_accepted_in_either_case(store: PackageStore) -> None:
    """Every digest in the form is verified, also those that are not stored."""
    filename, wheel = make_wheel()
    digests = {
        "sha256": hashlib.sha256(wheel).hexdigest().upper(),
        "md5": hashlib.md5(wheel).hexdigest(),
        "blake2b_256": hashlib.blake2b(wheel, digest_size=32).hexdigest(),
        "blake2b": hashlib.blake2b(wheel).hexdigest(),
    }
    assert publish(store, filename, wheel, digests=digests).filename == filename


def test_a_foreign_image_under_the_tag_stays(registry: TestRegistry, store: PackageStore) -> None:
    """A container image is not overwritten by a package."""
    registry.put("1.0", foreign := make_foreign_image(registry))
    with pytest.raises(Denied, match="something other than a Python package"):
        publish_wheel(store)
    assert registry.document("1.0") == foreign


@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHORIZED"), (403, "DENIED")])
def test_a_repository_that_answers_401_before_it_exists_is_published_to(
    registry: TestRegistry, store: PackageStore, status: int, code: str
) -> None:
    """Docker Hub answers 401 for everything that is absent: only a push shows more (quirk 7)."""
    registry.refuse = {"GET .*/manifests/1.0": (status, code), "HEAD .*/blobs/": (status, code)}

    def relent(line: str) -> None:
        if line.startswith("PUT") and "/manifests/sha256" in line:
            registry.refuse = {}

    registry.before = relent
    publish_wheel(store)
    assert names(store) == [make_wheel()[0]]


def test_a_tag_that_stays_unreadable_after_the_push_is_refused(
    registry: TestRegistry, store: PackageStore
) -> None:
    """Only 404 means that the version is new: writing over what can't be read could lose another file."""
    registry.refuse = {"GET .*/manifests/1.0": (401, "UNAUTHORIZED")}
    with pytest.raises(Unauthorized):
        publish_wheel(store)
    assert not [line for line in registry.calls if line.startswith("PUT") and line.endswith("/1.0")]


def test_a_registry_without_create_on_push_is_reported(registry: TestRegistry, store: PackageStore) -> None:
    """Amazon's, unless create-on-push is on."""
    registry.refuse = {"POST": (404, "NAME_UNKNOWN")}
    with pytest.raises(NotFound, match=r"create local/acme/hello_world there first"):
        publish_wheel(store)


def test_namespaces_are_separate(store: PackageStore) -> None:
    """The namespace is part of the repository's name."""
    publish_wheel(store)
    with pytest.raises(NotFound):
        page_of(store, make_namespace("acme/deeper"), HELLO, NOBODY)
    with pytest.raises(NotFound):
        page(store, ProjectName.parse("other"))


def test_an_entry_that_is_no_file_is_replaced(registry: TestRegistry, store: PackageStore) -> None:
    """An entry without a hash whose manifest is an image index is on no page; an upload replaces it."""
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


class TestYank:
    """PEP 592: a yanked file is still there for those who pinned it."""

    @pytest.fixture(autouse=True)
    def _published(self, store: PackageStore) -> None:
        publish(store, *make_wheel())
        publish(store, *make_sdist())

    def test_a_file(self, store: PackageStore) -> None:
        """One file, with a reason. Its bytes stay."""
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        assert yanked(store) == {WHEEL: "broken", SDIST: None}
        assert content(store, WHEEL) == make_wheel()[1]

    def test_a_version(self, store: PackageStore) -> None:
        """All files of a version together, as pip and Renovate expect it; also without a reason."""
        store.yank(ACME, HELLO, "1.0", "", NOBODY)
        assert yanked(store) == {WHEEL: "", SDIST: ""}

    def test_is_taken_back(self, registry: TestRegistry, store: PackageStore) -> None:
        """The entries are what they were before."""
        before = registry.document("1.0")["manifests"]
        store.yank(ACME, HELLO, "1.0", "broken", NOBODY)
        store.yank(ACME, HELLO, "v1.0", None, NOBODY)
        assert registry.document("1.0")["manifests"] == before

    def test_twice_writes_once(self, registry: TestRegistry, store: PackageStore) -> None:
        """A file that is yanked already needs no write."""
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        registry.calls.clear()
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        assert not [line for line in registry.calls if line.startswith("PUT")]

    @pytest.mark.parametrize("reason", ["a\nb", "x" * 1001, "\0"])
    def test_a_reason_that_cannot_be_shown(self, store: PackageStore, reason: str) -> None:
        """A reason is one line of at most 1000 characters."""
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
        """The message says what was expected."""
        with pytest.raises(InvalidRequest, match="neither a file name nor a version"):
            store.yank(ACME, HELLO, "latest", "", NOBODY)

    def test_survives_the_next_upload(self, store: PackageStore) -> None:
        """Adding a file changes no other."""
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        publish(store, *make_wheel(tag="py2-none-any"))
        assert yanked(store)[WHEEL] == "broken"


class TestSpellingsOfAVersion:
    """1.0 and 1.0.0 are one version (PEP 440) under two tags."""

    SHORT, LONG, LATER = make_wheel(version="1.0"), make_wheel(version="1.0.0"), make_wheel(version="1.0.1")

    @pytest.fixture(autouse=True)
    def _published(self, store: PackageStore) -> None:
        for wheel in (self.LONG, self.SHORT, self.LATER):
            publish(store, *wheel)

    def test_each_file_is_under_the_tag_of_its_file_name(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """The page has one version with both files."""
        assert [len(registry.document(tag)["manifests"]) for tag in ("1.0", "1.0.0")] == [1, 1]
        assert names(store) == [self.SHORT[0], self.LONG[0], self.LATER[0]]
        assert [str(version) for version in page(store).versions] == ["1.0", "1.0.1"]

    @pytest.mark.parametrize("target", ["1", "1.0", "1.0.0", "v1.0.0.0"])
    def test_a_yank_is_of_all(self, store: PackageStore, target: str) -> None:
        """By any spelling, also one that has no tag; and so is its end."""
        store.yank(ACME, HELLO, target, "broken", NOBODY)
        assert yanked(store) == {self.SHORT[0]: "broken", self.LONG[0]: "broken", self.LATER[0]: None}
        store.yank(ACME, HELLO, target, None, NOBODY)
        assert set(yanked(store).values()) == {None}

    @pytest.mark.parametrize("target", ["1", "1.0", "1.0.0"])
    def test_a_delete_is_of_all(self, registry: TestRegistry, store: PackageStore, target: str) -> None:
        """Both tags are removed."""
        store.delete(ACME, HELLO, target, NOBODY)
        assert names(store) == [self.LATER[0]]
        assert not registry.exists("1.0")
        assert not registry.exists("1.0.0")

    def test_a_file_is_changed_alone(self, store: PackageStore) -> None:
        """A file name means that file."""
        store.yank(ACME, HELLO, self.LONG[0], "", NOBODY)
        assert yanked(store) == {self.SHORT[0]: None, self.LONG[0]: "", self.LATER[0]: None}
        store.delete(ACME, HELLO, self.LONG[0], NOBODY)
        assert names(store) == [self.SHORT[0], self.LATER[0]]

    def test_local_versions_are_others(self, store: PackageStore) -> None:
        """1.0+local is not 1.0."""
        local = publish_wheel(store, "1.0+local").filename
        store.delete(ACME, HELLO, "1.0", NOBODY)
        assert names(store) == [local, self.LATER[0]]


class TestDelete:
    """A file or a version, in the way that the registry supports."""

    def test_a_file_among_others(self, registry: TestRegistry, store: PackageStore) -> None:
        """The image index is written without it, which works at every registry that takes pushes."""
        publish(store, *make_wheel())
        publish(store, *make_sdist())
        child = registry.document("1.0")["manifests"][0]["digest"]
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert names(store) == [SDIST]
        assert not registry.exists(child)

    def test_the_last_file_removes_the_version(self, registry: TestRegistry, store: PackageStore) -> None:
        """Tag, image index and manifest are gone. The project is still there."""
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
        """Another file may have the name then: the registry is the operator's."""
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
        """docker-registry 2.8 (400) and Harbor: the image index is deleted by its digest (quirk 4)."""
        registry.refuse = {self.TAG: (status, "UNSUPPORTED")}
        publish_wheel(store)
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert not registry.exists("1.0")

    @pytest.mark.parametrize("answer", [(404, "MANIFEST_UNKNOWN"), (500, "UNKNOWN")])
    def test_a_tag_that_has_lost_its_manifest_goes_as_well(
        self, registry: TestRegistry, store: PackageStore, answer: tuple[int, str]
    ) -> None:
        """docker-registry 2.8 removes the manifest and fails before it removes the tag; it says so, or says
        404 when it is asked again. The tag would be listed for ever.
        """
        publish_wheel(store)
        publish_wheel(store, "2.0")
        digest = registry.session().digest(make_repository(), Tag.parse("1.0"))

        gone, there = (404, "MANIFEST_UNKNOWN"), r"(GET|HEAD) .*/manifests/1\.0"
        registry.refuse = {self.TAG: (400, "DIGEST_INVALID")}

        def fail_halfway(line: str) -> None:
            if line == f"DELETE acme/hello_world/manifests/{digest}":
                registry.refuse |= {f"DELETE .*{digest}": answer, there: gone}
            if line == "PUT acme/hello_world/manifests/1.0":
                registry.refuse.pop(there, None)

        registry.before = fail_halfway
        store.delete(ACME, HELLO, "1.0", NOBODY)
        assert registry.session().tags(make_repository()) == ("0--pyoci", "2.0")
        assert names(store) == ["hello_world-2.0-py3-none-any.whl"]
        assert publish_wheel(store).filename == WHEEL

    def test_where_nothing_can_be_deleted(self, registry: TestRegistry, store: PackageStore) -> None:
        """ghcr.io and Docker Hub: an image index without manifests replaces it, with its own digest."""
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
        """It is on no page, and a file can be uploaded to it again."""
        registry.refuse = {"DELETE": (405, "UNSUPPORTED")}
        publish_wheel(store)
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        with pytest.raises(NotFound):
            store.delete(ACME, HELLO, "1.0", NOBODY)
        publish_wheel(store, requires=["other"])
        assert names(store) == [WHEEL]

    def test_where_neither_deleting_nor_writing_is_allowed(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """NotSupported only if the registry refuses every way."""
        publish_wheel(store)
        registry.refuse = {"DELETE": (405, "UNSUPPORTED"), r"PUT .*/manifests/1\.0": (405, "UNSUPPORTED")}
        with pytest.raises(NotSupported):
            store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert names(store) == [WHEEL]

    def test_manifests_that_stay_are_no_failure(self, registry: TestRegistry, store: PackageStore) -> None:
        """Harbor answers 412 for a manifest in an image index. The file is gone all the same."""
        publish(store, *make_wheel())
        publish(store, *make_sdist())
        registry.refuse = {self.DIGEST: (412, "DENIED")}
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert names(store) == [SDIST]


class TestImport:
    """A file from another package index keeps what that said of it."""

    def test_upload_time_and_yank(self, registry: TestRegistry, store: PackageStore) -> None:
        """The page says the same as the other index; the image index says that it has just changed."""
        long_ago = datetime(2019, 5, 1, 12, 30, 1, 234567, tzinfo=UTC)
        filename, content = make_wheel()
        store.publish(ACME, make_upload(filename, content), NOBODY, Imported(long_ago, "broken on Windows"))
        (file,) = page(store, fresh=True).files
        assert (file.upload_time, file.yanked) == (long_ago, "broken on Windows")
        changed = registry.document("1.0")["annotations"]["com.pyoci.changed"]
        assert datetime.fromisoformat(changed.partition(" ")[0]) > datetime.now(UTC) - timedelta(hours=1)

    def test_copy_of_another_indexs_file(self, store: PackageStore) -> None:
        """A copy says where it came from. Its provenance is in the config blob, under a hash in its entry."""
        url = "https://files.example/a/hello_world-1.0-py3-none-any.whl"
        provenance = '{"version": 1, "attestation_bundles": []}'
        filename, content = make_wheel()
        copied = Imported(upstream_url=f"{url}?signature=secret#sha256=ab", provenance=provenance)
        store.publish(ACME, make_upload(filename, content), NOBODY, copied)
        (file,) = page(store, fresh=True).files
        assert file.upstream_url == url
        assert file.provenance == hashlib.sha256(provenance.encode()).hexdigest()
        assert store.provenance(ACME, HELLO, filename, NOBODY) == provenance.encode()

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "javascript:alert(1)", "https://a/b c"])
    def test_what_cannot_be_kept_of_a_copy(self, store: PackageStore, url: str) -> None:
        """The file is stored without it."""
        filename, content = make_wheel()
        copied = Imported(upstream_url=url, provenance="[" + " " * 2**18 + "]")
        store.publish(ACME, make_upload(filename, content), NOBODY, copied)
        (file,) = page(store, fresh=True).files
        assert (file.upstream_url, file.provenance) == (None, None)
        with pytest.raises(NotFound, match="no provenance"):
            store.provenance(ACME, HELLO, filename, NOBODY)

    def test_unknown_time_is_now(self, store: PackageStore) -> None:
        filename, content = make_wheel()
        store.publish(ACME, make_upload(filename, content), NOBODY, Imported())
        (file,) = page(store, fresh=True).files
        assert file.yanked is None
        assert file.upload_time is not None
        assert file.upload_time > datetime.now(UTC) - timedelta(hours=1)
