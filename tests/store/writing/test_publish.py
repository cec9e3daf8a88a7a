"""The write path: what is pushed and in which order, conflicts, and what is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import AlreadyExists, Denied, InvalidRequest, NotFound, Unauthorized
from pyoci.oci.references import Tag
from pyoci.store.service import PackageStore
from tests.builders import make_metadata, make_sdist, make_wheel, make_zip
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import HELLO, NOBODY, content, make_foreign_image, names, page, publish, publish_wheel

SPELLINGS = [
    ("Hello.World", "1.0", "py3-none-any"),
    ("hello-world", "1.0+local.1", "py3-none-any"),
    ("hello-world", "1!2.0", "py3-none-any"),
    ("hello-world", "1!2.0+cu121", "cp311-cp311-manylinux_2_17_x86_64"),
    ("hello-world", "1.0rc1.post2.dev3", "py2.py3-none-any"),
]


@pytest.mark.parametrize(("name", "version", "tag"), SPELLINGS)
def test_a_wheel_comes_back_as_it_was(store: PackageStore, name: str, version: str, tag: str) -> None:
    """Under its own file name, however name and version are spelled."""
    filename, wheel = make_wheel(name, version, tag)
    published = publish(store, filename, wheel)
    (file,) = page(store).files
    assert file == published
    assert (file.filename, str(file.version), file.size) == (filename, version, len(wheel))
    assert content(store, filename) == wheel
    metadata = store.metadata(make_namespace(), HELLO, filename, NOBODY)
    assert metadata == make_metadata(name, version)


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_an_sdist_comes_back_as_it_was(store: PackageStore, ending: str) -> None:
    """Without core metadata, which may change when it is built."""
    filename, sdist = make_sdist(ending=ending)
    file = publish(store, filename, sdist, filetype="sdist")
    assert file.core_metadata is None
    assert content(store, filename) == sdist
    with pytest.raises(NotFound):
        store.metadata(make_namespace(), HELLO, filename, NOBODY)


def test_a_wheel_whose_metadata_is_not_utf8_offers_none(store: PackageStore) -> None:
    """JSON could not hold it byte-exact; the wheel itself is as good as any."""
    metadata = make_metadata().replace(b"\n\n", b"\nAuthor: Zo\xeb\n\n")
    files = {"hello_world-1.0.dist-info/METADATA": metadata}
    wheel = make_zip(files)
    file = publish(store, make_wheel()[0], wheel)
    assert file.core_metadata is None
    assert content(store, file.filename) == wheel


def test_the_image_index_is_written_last(registry: TestRegistry, store: PackageStore) -> None:
    """A reader never sees a dangling reference; everything is pushed once."""
    publish_wheel(store)
    writes = [line for line in registry.calls if line.startswith("PUT")]
    assert [line.split("/")[2] for line in writes] == ["blobs", "blobs", "manifests", "manifests"]
    assert "sha256:" in writes[2]
    assert writes[3].endswith("manifests/1.0")


def test_the_same_file_again_is_no_conflict(registry: TestRegistry, store: PackageStore) -> None:
    """Nothing is written, the file keeps its time: twine repeats an upload whose answer it missed.

    The registry is asked whether it still has the file, its config blob and its manifest.
    """
    first = publish_wheel(store)
    registry.calls.clear()
    assert publish_wheel(store) == first
    assert [line.split()[0] for line in registry.calls] == ["GET", "HEAD", "HEAD", "GET"]


def test_another_file_of_that_name_is_a_conflict(store: PackageStore) -> None:
    """The sentence is the one that poetry, pdm and uv know."""
    first = publish_wheel(store)
    with pytest.raises(AlreadyExists) as caught:
        publish_wheel(store, requires=["other"])
    expected = f"File already exists ('{first.filename}', with sha256 hash '{first.sha256}')."
    assert caught.value.message == expected
    assert content(store, first.filename) == make_wheel()[1]


def test_a_conflict_is_found_under_an_unnormalised_tag(registry: TestRegistry, store: PackageStore) -> None:
    """What the Rust PyOCI kept under 1.0RC1 is the same file as ours under 1.0rc1."""
    publish_wheel(store, "1.0rc1")
    registry.put("1.0RC1", registry.document("1.0rc1"))
    registry.session().delete(make_namespace().repository(HELLO), Tag.parse("1.0rc1"))
    filename, wheel = make_wheel(version="1.0RC1", requires=["other"])
    with pytest.raises(AlreadyExists):
        publish(store, filename, wheel)


def test_files_of_one_version_stand_side_by_side(store: PackageStore) -> None:
    """One image index holds them all."""
    uploads = [make_wheel(), make_wheel(tag="py2-none-any"), make_wheel(build="2"), make_sdist()]
    for filename, data in uploads:
        publish(store, filename, data)
    assert sorted(names(store)) == sorted(filename for filename, _ in uploads)


def test_labels_and_urls_come_from_the_form(registry: TestRegistry, store: PackageStore) -> None:
    """Labels become annotations of the manifest, web URLs those of the entry."""
    urls = ("Home, https://example.org", "Bad, javascript:alert(1)", ", https://example.org/unnamed")
    classifiers = ("PyOCI :: Label :: team :: a :: b", "Programming Language :: Python")
    file = publish(store, *make_wheel(), classifiers=classifiers, project_urls=urls)
    manifest = registry.document(registry.document("1.0")["manifests"][0]["digest"])
    assert manifest["annotations"]["team"] == "a :: b"
    assert len(manifest["annotations"]) == 3
    assert file.project_urls == {"Home": "https://example.org"}


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
def test_what_does_not_agree_is_refused_and_nothing_stored(
    registry: TestRegistry,
    store: PackageStore,
    filename: str,
    data: bytes,
    overrides: dict[str, Any],
    sentence: str,
) -> None:
    """A sentence says what was wrong and what was expected; the registry isn't even asked."""
    with pytest.raises(InvalidRequest) as caught:
        publish(store, filename, data, **overrides)
    assert sentence in caught.value.message
    assert registry.calls == []


def test_digests_that_agree_are_accepted_in_either_case(store: PackageStore) -> None:
    """Every digest given is verified, also those that we don't keep."""
    filename, wheel = make_wheel()
    digests = {
        "sha256": hashlib.sha256(wheel).hexdigest().upper(),
        "md5": hashlib.md5(wheel).hexdigest(),
        "blake2b_256": hashlib.blake2b(wheel, digest_size=32).hexdigest(),
    }
    assert publish(store, filename, wheel, digests=digests).filename == filename


def test_a_foreign_image_under_the_tag_stays(registry: TestRegistry, store: PackageStore) -> None:
    """Somebody's image is not overwritten by a package."""
    registry.put("1.0", foreign := make_foreign_image(registry))
    with pytest.raises(Denied, match="something else than a Python package"):
        publish_wheel(store)
    assert registry.document("1.0") == foreign


@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHORIZED"), (403, "DENIED")])
def test_a_repository_that_hides_before_it_exists_is_published_to(
    registry: TestRegistry, store: PackageStore, status: int, code: str
) -> None:
    """Docker Hub says 401 of everything absent: pushing decides (quirk 7)."""
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
    """Only 404 means new: writing over what can't be read could lose a neighbour's file."""
    registry.refuse = {"GET .*/manifests/1.0": (401, "UNAUTHORIZED")}
    with pytest.raises(Unauthorized):
        publish_wheel(store)
    assert not [line for line in registry.calls if line.startswith("PUT") and line.endswith("/1.0")]


def test_a_registry_that_makes_no_repositories_says_so(registry: TestRegistry, store: PackageStore) -> None:
    """Amazon's, unless create-on-push is on."""
    registry.refuse = {"POST": (404, "NAME_UNKNOWN")}
    with pytest.raises(NotFound, match=r"local/acme/hello_world has to be made there first"):
        publish_wheel(store)


def test_two_packages_of_other_namespaces_do_not_meet(store: PackageStore) -> None:
    """The namespace is part of the repository's name."""
    publish_wheel(store)
    with pytest.raises(NotFound):
        store.page(make_namespace("acme/deeper"), HELLO, NOBODY)
    with pytest.raises(NotFound):
        page(store, ProjectName.parse("other"))
