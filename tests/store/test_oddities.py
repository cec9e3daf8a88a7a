"""What others left in a repository: odd documents, tags outside the grammar, other spellings of a tag. Each
costs at most the version or file that it stands in, and what can be read can be used.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from pyoci.errors import NotFound, ProtocolError
from pyoci.events import Events
from pyoci.net.transport import DOCUMENT_LIMIT
from pyoci.oci.models import DOCKER_SIGNED, IMAGE_INDEX
from pyoci.oci.references import Tag
from pyoci.store.service import PackageStore
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, content, names, page, publish, publish_wheel

ACME = make_namespace()
WHEEL, BYTES = make_wheel()


def plant(registry: TestRegistry, reference: str, document: Any) -> str:
    """Put a document that the registry would not accept into it, under its digest and an existing tag.
    Returns the digest.
    """
    body = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    headers = {"Content-Type": document["mediaType"], "Docker-Content-Digest": digest}
    registry.answers[f"GET .*/manifests/({reference}|{digest})$"] = (body, headers)
    return digest


def make_version(registry: TestRegistry, **overrides: Any) -> dict[str, Any]:
    """The image index of a version. Its only file has no hash of its own."""
    document: dict[str, Any] = registry.document("1.0")
    entry = document["manifests"][0]
    del entry["annotations"]["com.pyoci.sha256_digest"]
    entry |= overrides
    return document


def _manifest(registry: TestRegistry) -> Any:
    return registry.document(registry.document("1.0")["manifests"][0]["digest"])


CHILDREN = {
    "a nested index": lambda manifest: {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []},
    "no layer": lambda manifest: {**manifest, "layers": []},
    "two layers": lambda manifest: {**manifest, "layers": manifest["layers"] * 2},
    "layers that are none": lambda manifest: {**manifest, "layers": {}},
    "a layer of another hash": lambda manifest: {
        **manifest,
        "layers": [{**manifest["layers"][0], "digest": "sha512:" + "a" * 128}],
    },
    "no config": lambda manifest: {**manifest, "config": None},
}


@pytest.mark.parametrize("make", CHILDREN.values(), ids=CHILDREN)
def test_an_odd_manifest_costs_its_file_only(registry: TestRegistry, store: PackageStore, make: Any) -> None:
    """The file has no hash and is left out. The page shows the other files, and the log says what was
    skipped.
    """
    publish_wheel(store)
    publish_wheel(store, "2.0")
    child = make(_manifest(registry))
    plant(registry, "2.0", make_version(registry, digest=plant(registry, "none", child)))
    heard: list[str] = []
    reader = registry.store(Events(lambda event, **facts: heard.append(event)))
    assert names(reader) == [WHEEL]
    assert heard == ["skipped"]
    with pytest.raises(NotFound, match="no hash for hello_world"):
        content(reader, "hello_world-2.0-py3-none-any.whl")


ENTRIES: dict[str, dict[str, Any]] = {
    "without a digest": {"digest": None},
    "of an unknown digest": {"digest": "md5:" + "0" * 32},
    "of a negative size": {"size": -1},
    "with annotations that are none": {"annotations": ["a"]},
    "with a number as annotation": {"annotations": {"com.pyoci.size": 5}},
    "without an architecture": {"platform": {"os": "any"}},
    "without a platform": {"platform": None},
    "of no file": {"platform": {"architecture": "amd64", "os": "linux"}},
    "with annotations that make no sense": {
        "annotations": {
            "org.opencontainers.image.created": "99999-13-41",
            "com.pyoci.project_urls": "[[[",
            "com.pyoci.filename": "../../etc/passwd",
            "com.pyoci.size": "9" * 400,
            "com.pyoci.config_digest": "x",
            "com.pyoci.core_metadata": "x",
        }
    },
}


@pytest.mark.parametrize("overrides", ENTRIES.values(), ids=ENTRIES)
def test_an_odd_entry_costs_no_other_version(
    registry: TestRegistry, store: PackageStore, overrides: dict[str, Any]
) -> None:
    """Whatever a descriptor contains, the other versions are on the page."""
    publish_wheel(store)
    publish_wheel(store, "2.0")
    plant(registry, "2.0", make_version(registry, **overrides))
    assert WHEEL in names(registry.store())


def test_documents_of_an_old_kind_are_passed_over(registry: TestRegistry, store: PackageStore) -> None:
    """docker-registry 2.8 sends a signed manifest, whose digest is that of a part of it."""
    publish_wheel(store)
    publish_wheel(store, "2.0")
    registry.answers = {
        "GET .*/manifests/2.0": (
            b'{"schemaVersion": 1, "signatures": []}',
            {"Content-Type": DOCKER_SIGNED, "Docker-Content-Digest": "sha256:" + "a" * 64},
        )
    }
    assert names(registry.store()) == [WHEEL]


def test_a_document_that_is_too_long_is_passed_over(registry: TestRegistry, store: PackageStore) -> None:
    """None of our versions is so long."""
    publish_wheel(store)
    registry.put("2.0", registry.document("1.0"))
    registry.answers = {"GET .*/manifests/2.0": (b" " * (DOCUMENT_LIMIT + 1), {"Content-Type": IMAGE_INDEX})}
    assert names(registry.store()) == [WHEEL]


@pytest.mark.parametrize(
    ("status", "code"), [(406, "UNSUPPORTED"), (400, "MANIFEST_INVALID"), (400, "MANIFEST_UNVERIFIED")]
)
def test_a_document_that_the_registry_refuses_to_give_is_passed_over(
    registry: TestRegistry, store: PackageStore, status: int, code: str
) -> None:
    """The refusal concerns only this document. If the registry refuses all of them, the page fails."""
    publish_wheel(store)
    publish_wheel(store, "2.0")
    registry.refuse = {"GET .*/manifests/2.0": (status, code)}
    assert names(registry.store()) == [WHEEL]


def test_other_bytes_than_the_digest_says_fail_the_page(registry: TestRegistry, store: PackageStore) -> None:
    """They were changed on the way, so the page can't be trusted."""
    publish_wheel(store)
    publish_wheel(store, "2.0")
    registry.answers = {
        "GET .*/manifests/2.0": (
            b"{}",
            {"Content-Type": IMAGE_INDEX, "Docker-Content-Digest": "sha256:" + "a" * 64},
        )
    }
    with pytest.raises(ProtocolError):
        page(registry.store())


# Tags outside the grammar, and other spellings

SPELLED = [
    pytest.param("1!3.0", "1!3.0", id="an epoch as the Rust PyOCI writes it"),
    pytest.param("1.0+build", "1.0+build", id="a local version"),
    pytest.param("v2.0", "2.0", id="a v"),
    pytest.param("V2.0", "2.0", id="a capital V"),
    pytest.param("2.0.0", "2.0", id="another count of zeros"),
    pytest.param("2.0RC1", "2.0rc1", id="capitals"),
    pytest.param("2.0-Ubuntu_1", "2.0+ubuntu.1", id="a local version of another spelling"),
]


@pytest.fixture
def spelled(registry: TestRegistry, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A version that is only under an unusual tag: the tag, and the file's name."""
    tag, version = request.param
    registry.takes = {"1!3.0": "odd-1", "1.0+build": "odd-2"}
    store = registry.store()
    publish_wheel(store, "0.1")
    filename = publish(store, *make_wheel(version=version)).filename
    usual = version.replace("!", "_").replace("+", "-")
    registry.put(tag, registry.document(usual))
    registry.session().delete(make_repository(), Tag.parse(usual))
    return tag, filename


SPELLINGS = [pytest.param(tuple(case.values), id=case.id) for case in SPELLED]


@pytest.mark.parametrize("spelled", SPELLINGS, indirect=True)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_file_under_another_tag_is_read(
    registry: TestRegistry, spelled: tuple[str, str], warm: bool
) -> None:
    """It can be downloaded, and its METADATA read, with the page and without it."""
    _, filename = spelled
    store = registry.store()
    if warm:
        assert filename in names(store)
    version = filename.split("-")[1]
    assert content(store, filename) == make_wheel(version=version)[1]
    assert store.metadata(ACME, HELLO, filename, NOBODY).startswith(b"Metadata-Version")


@pytest.mark.parametrize("spelled", SPELLINGS, indirect=True)
@pytest.mark.parametrize("by", ["file", "version"])
def test_a_file_under_another_tag_is_yanked_and_deleted(
    registry: TestRegistry, spelled: tuple[str, str], by: str
) -> None:
    """By its name and by its version."""
    _, filename = spelled
    store = registry.store()
    (version,) = [str(file.version) for file in page(store).files if file.filename == filename]
    target = filename if by == "file" else version
    store.yank(ACME, HELLO, target, "bad", NOBODY)
    yanked = {file.filename: file.yanked for file in page(store).files}
    assert yanked == {"hello_world-0.1-py3-none-any.whl": None, filename: "bad"}
    store.delete(ACME, HELLO, target, NOBODY)
    assert names(store) == ["hello_world-0.1-py3-none-any.whl"]
    with pytest.raises(NotFound):
        content(store, filename)


def test_a_file_under_two_tags_is_deleted_under_both(registry: TestRegistry, store: PackageStore) -> None:
    """Otherwise it would still be on the page."""
    publish_wheel(store)
    publish_wheel(store, "2.0")
    registry.put("v2.0", registry.document("2.0"))
    store.delete(ACME, HELLO, "hello_world-2.0-py3-none-any.whl", NOBODY)
    assert names(registry.store()) == [WHEEL]


def test_the_exact_name_counts_first(registry: TestRegistry, store: PackageStore) -> None:
    """Two tags of one version have the same wheel, spelled differently: each is found by its own name."""
    publish_wheel(store, "2.0")
    registry.put("v2.0", registry.document("2.0"))
    registry.session().delete(make_repository(), Tag.parse("2.0"))
    other, data = make_wheel("Hello.World", "2.0", requires=["x"])
    publish(registry.store(), other, data)
    assert sorted(names(registry.store())) == sorted([other, "hello_world-2.0-py3-none-any.whl"])
    assert content(registry.store(), other) == data
    assert content(registry.store(), "hello_world-2.0-py3-none-any.whl") == make_wheel(version="2.0")[1]


@pytest.mark.parametrize(("status", "code"), [(400, "TAG_INVALID"), (404, ""), (405, "UNSUPPORTED")])
def test_a_tag_that_cannot_be_asked_for_is_passed_over(
    registry: TestRegistry, store: PackageStore, status: int, code: str
) -> None:
    """The registry lists it and refuses it in a request. The other versions are shown."""
    registry.takes = {"1!3.0": "odd-1"}
    publish_wheel(store)
    registry.put("1!3.0", registry.document("1.0"))
    registry.refuse = {"manifests/1!3": (status, code)}
    reader = registry.store()
    assert names(reader) == [WHEEL]
    reader.yank(ACME, HELLO, "1.0", "", NOBODY)
    assert page(reader).files[0].yanked == ""


def test_a_list_that_is_refused_is_no_error_of_a_file(registry: TestRegistry, store: PackageStore) -> None:
    """Without the list of tags, a missing file is not found, and an existing one is served."""
    publish_wheel(store)
    publish(store, *make_sdist(version="2.0"))
    registry.refuse = {"tags/list": (403, "DENIED")}
    reader = registry.store()
    assert content(reader, WHEEL) == BYTES
    with pytest.raises(NotFound, match="has no file"):
        content(reader, "hello_world-2.0-py3-none-any.whl")
    reader.delete(ACME, HELLO, WHEEL, NOBODY)


def test_many_spellings_are_not_all_looked_at(registry: TestRegistry, store: PackageStore) -> None:
    """A missing file takes a limited number of requests."""
    publish_wheel(store)
    for count in range(40):
        registry.put("2.0" + ".0" * (count + 1), registry.document("1.0"))
    registry.calls.clear()
    with pytest.raises(NotFound):
        content(registry.store(), "hello_world-2.0.tar.gz")
    assert len(registry.calls) < 25
