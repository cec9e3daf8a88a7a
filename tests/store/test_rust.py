"""The Rust PyOCI's rules, as observed in its version 0.1.40: for names of files and projects, and for what
its delete leaves. `rust-names.json` has the names of files.
"""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound
from pyoci.oci.models import Document
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.registries import EMBEDDED
from pyoci.store.catalog_repository import CatalogName
from pyoci.store.service import PackageStore
from tests.builders import make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, content, names, page, publish, publish_wheel
from tests.store.test_format import GOLDEN, golden, put_rust_package

NAMES = json.loads((GOLDEN / "rust-names.json").read_text())
ACME = make_namespace()


def put_rust_file(registry: TestRegistry, row: dict[str, str], file: bytes) -> None:
    """Store a file like the Rust PyOCI, with the tag and the platform of a row."""
    sha256 = registry.put_blob(file).hex
    registry.put_blob(b"{}")
    child = registry.put("temporary", golden("rust-manifest", sha256=sha256, size=len(file)))
    values = {"manifest": child.digest.hex, "manifest_size": len(child.body)}
    image_index = golden("rust-image-index", sha256=sha256, **values)
    image_index["manifests"][0]["platform"]["architecture"] = row["platform"]
    registry.put(registry.takes.get(row["tag"], row["tag"]), image_index)


@pytest.mark.parametrize("row", NAMES, ids=lambda row: row["published"])
class TestNames:
    """The version of an sdist is the text after the first hyphen of its name. A tag has a hyphen for each
    plus, and a file name on the page has a plus for each hyphen.
    """

    def test_its_tag_is_read(self, registry: TestRegistry, row: dict[str, str]) -> None:
        """A file that an installer accepts has its name here, even if the Rust PyOCI shows another one."""
        registry.takes = {"1!3.0": "odd"}
        publish_wheel(registry.store(), "0.1")
        put_rust_file(registry, row, b"a file")
        found = set(names(registry.store())) - {"hello_world-0.1-py3-none-any.whl"}
        assert found == ({row["ours"]} if row["ours"] else set())
        for filename in found:
            assert content(registry.store(), filename) == b"a file"

    def test_it_shows_this_name(self, registry: TestRegistry, row: dict[str, str]) -> None:
        """By the rule of the Rust PyOCI. Names that differ from ours have no version that installers can
        parse.
        """
        separator = "-" if row["platform"].endswith(".whl") else ""
        assert row["rust"] == f"hello_world-{row['tag'].replace('-', '+')}{separator}{row['platform']}"
        version = row["rust"].removesuffix(row["platform"]).removeprefix("hello_world-").rstrip("-")
        assert (row["rust"] == row["ours"]) is (version.count("+") < 2 and version[0].isdigit())


class TestWhatItsDeleteLeaves:
    """It deletes files and manifests before the tag. docker-registry 2.8 deletes no tags, so the tag stays,
    with an image index that lists a missing file.
    """

    @pytest.fixture(autouse=True)
    def _deleted(self, registry: TestRegistry) -> None:
        publish_wheel(registry.store(), "2.0")
        put_rust_package(registry, *make_wheel())
        child = registry.document("1.0")["manifests"][0]
        sha256 = child["annotations"]["com.pyoci.sha256_digest"]
        registry.refuse = {
            f"(GET|HEAD) .*{digest}": (404, "BLOB_UNKNOWN") for digest in (child["digest"], sha256)
        }

    def test_the_page_lists_the_file(self, store: PackageStore) -> None:
        """Like in the Rust PyOCI: checking each file would take a request for each."""
        assert names(store) == ["hello_world-1.0-py3-none-any.whl", "hello_world-2.0-py3-none-any.whl"]
        assert content(store, "hello_world-2.0-py3-none-any.whl") == make_wheel(version="2.0")[1]

    def test_the_file_is_not_found(self, store: PackageStore) -> None:
        """A 404, with the registry's reason."""
        with pytest.raises(NotFound, match="blob"):
            content(store, make_wheel()[0])

    def test_the_version_can_be_deleted(self, store: PackageStore) -> None:
        """The last manifest is deleted, and its tag with it."""
        store.delete(ACME, HELLO, "1.0", NOBODY)
        assert names(store) == ["hello_world-2.0-py3-none-any.whl"]

    def test_the_file_can_be_published_again(self, registry: TestRegistry, store: PackageStore) -> None:
        """The same file restores what is lost."""

        def arrived(line: str) -> None:
            if line.startswith("PUT") and "/blobs/uploads/" in line:
                registry.refuse.clear()

        registry.before = arrived
        publish(store, *make_wheel())
        assert content(store, make_wheel()[0]) == make_wheel()[1]
        assert len(names(store)) == 2


class TestCatalogueRepository:
    """It reads the repository of the project that is asked for, and every tag there. So the catalogue is a
    repository of its own, whose name is that of no project.
    """

    def test_a_project_has_the_same_documents_as_without(self, registry: TestRegistry) -> None:
        """No tag and no annotation is added to the project's own repository."""
        moment = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
        without, catalogued = (
            registry.store(now=lambda: moment, catalog_name=name)
            for name in (None, CatalogName("pyoci.catalog"))
        )
        publish(without, *make_wheel("before"))
        publish(catalogued, *make_wheel("afterw"))
        before, after = (registry.document("1.0", name) for name in ("before", "afterw"))
        assert before.keys() == after.keys()
        assert before["annotations"].keys() == after["annotations"].keys()
        assert before["manifests"][0]["annotations"].keys() == after["manifests"][0]["annotations"].keys()
        repository = Repository.parse(EMBEDDED, "acme/afterw")
        assert registry.session().tags(repository) == ("1.0",)

    @pytest.mark.parametrize("spelled", ["pyoci.catalog", "PyOCI-Catalog", "pyoci_catalog"])
    def test_no_file_can_be_published_there(self, registry: TestRegistry, spelled: str) -> None:
        """The Rust PyOCI spells a repository like the project."""
        store = registry.store(catalog_name=CatalogName("pyoci.catalog"))
        with pytest.raises(InvalidRequest):
            publish(store, *make_wheel(spelled))


class TestNamesOfProjects:
    """Its repository is the name as the client spelled it, in lower case, with `_` for each `-`.

    Installers ask for `zope-interface` and `foo-bar`, so neither PyOCI gives them `foo__bar`.
    """

    @pytest.mark.parametrize(
        ("spelled", "project"), [("zope.interface", "zope-interface"), ("foo__bar", "foo-bar")]
    )
    def test_a_copy_under_the_usual_name_is_found(
        self, registry: TestRegistry, store: PackageStore, spelled: str, project: str
    ) -> None:
        """docs/moving.rst has the command. No request looks for other spellings."""
        name, (filename, wheel) = ProjectName.parse(project), make_wheel(project)
        put_in(registry, f"acme/{spelled}", wheel)
        registry.calls.clear()
        with pytest.raises(NotFound):
            page(store, name)
        assert not any(spelled in line for line in registry.calls)
        put_in(registry, f"acme/{name.underscored}", wheel)  # what a copy makes of it
        (file,) = page(store, name, fresh=True).files
        assert (file.filename, content(store, file.filename, name)) == (filename, wheel)


def test_it_passes_over_a_status(registry: TestRegistry, store: PackageStore) -> None:
    """It reads each tag with a `+` for each `-` as a version, reads the last one in string order, and takes
    image indexes of this type alone, whose annotations are texts. It knows no status: it goes on to serve the
    files of a quarantined project (seen with 0.1.40).
    """
    publish_wheel(store)
    store.set_status(ACME, HELLO, "quarantined", "caf\u00e9 \u2603", NOBODY)
    first, last = sorted(registry.session().tags(make_repository()))
    assert (first, last) == ("0--pyoci", "1.0")
    marker, version = registry.document(first), registry.document(last)
    assert marker["artifactType"] == version["artifactType"]
    assert marker["mediaType"] == version["mediaType"]
    assert marker["manifests"] == []
    assert {type(value) for value in marker["annotations"].values()} == {str}


def put_in(registry: TestRegistry, path: str, wheel: bytes) -> None:
    """Store version 1.0 in a repository as the Rust PyOCI does."""
    session, repository = registry.session(), Repository.parse(EMBEDDED, path)
    sha256 = hashlib.sha256(wheel).hexdigest()
    for blob in (wheel, b"{}"):
        digest = Digest("sha256", hashlib.sha256(blob).hexdigest())
        session.push_blob(repository, io.BytesIO(blob), len(blob), digest)
    manifest = golden("rust-manifest", sha256=sha256, size=len(wheel))
    child = Document(manifest["mediaType"], json.dumps(manifest).encode())
    session.push(repository, child.digest, child)
    values = {"manifest": child.digest.hex, "manifest_size": len(child.body)}
    image_index = golden("rust-image-index", sha256=sha256, **values)
    document = Document(image_index["mediaType"], json.dumps(image_index).encode())
    session.push(repository, Tag.parse("1.0"), document)
