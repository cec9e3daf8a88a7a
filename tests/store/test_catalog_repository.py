"""The catalogue repository: what it has, who writes it, and what is read from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound, Unauthorized
from pyoci.oci.credentials import Basic
from pyoci.oci.models import Document
from pyoci.oci.references import Repository, Tag
from pyoci.oci.registries import EMBEDDED
from pyoci.store.catalog_repository import CatalogName
from pyoci.store.models import Imported, ListSource, Namespace, ProjectSummary
from pyoci.store.service import PackageStore
from pyoci.upstream.client import UpstreamPage
from tests.builders import make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import HELLO, NOBODY, make_upload, names, publish, publish_wheel

ACME = make_namespace()
CATALOG = Repository.parse(EMBEDDED, "acme/pyoci.catalog")
MOMENT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
NO_LIST = {"_catalog": (404, "NAME_UNKNOWN")}


@pytest.fixture
def registry(tmp_path: Path) -> TestRegistry:
    return TestRegistry(tmp_path / "registry", refuse=dict(NO_LIST))


@pytest.fixture
def make(registry: TestRegistry) -> Callable[[], PackageStore]:
    def made() -> PackageStore:
        return registry.store(catalog_name=CatalogName("pyoci.catalog"), now=lambda: MOMENT)

    return made


@pytest.fixture
def store(make: Callable[[], PackageStore]) -> PackageStore:
    return make()


def document(registry: TestRegistry, tag: str = "hello-world") -> Any:
    return json.loads(registry.session().pull(CATALOG, Tag.parse(tag)).body)


def version_in(registry: TestRegistry, tag: str = "hello-world") -> Any:
    annotations = document(registry, tag).get("annotations", {})
    return annotations.get("org.opencontainers.image.version")


def tags(registry: TestRegistry) -> tuple[str, ...]:
    return tuple(sorted(registry.session().tags(CATALOG)))


def pushes(registry: TestRegistry) -> list[str]:
    return [call for call in registry.calls if call.startswith("PUT acme/pyoci.catalog/manifests/")]


class TestEntry:
    def test_golden(self, registry: TestRegistry, store: PackageStore) -> None:
        """A manifest of a type of its own, as other programs read it."""
        publish_wheel(store, extra_headers=[("Summary", "Says hello")])
        empty = {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}",
            "size": 2,
        }
        assert document(registry) == {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/pyoci.catalog.v1",
            "config": empty,
            "layers": [empty],
            "annotations": {
                "org.opencontainers.image.title": "hello-world",
                "org.opencontainers.image.version": "1.0",
                "org.opencontainers.image.description": "Says hello",
                "org.opencontainers.image.created": "2026-05-04T03:02:01Z",
            },
        }

    def test_tag_is_the_normalised_name(self, registry: TestRegistry, store: PackageStore) -> None:
        publish(store, *make_wheel("Zope.Interface"))
        publish_wheel(store)
        assert tags(registry) == ("hello-world", "zope-interface")

    def test_is_written_when_the_newest_version_changes(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """And only then. The first time, the empty blob that all entries refer to is missing."""
        for version, written, newest in (
            ("1.0", 2, "1.0"),
            ("0.9", 2, "1.0"),
            ("2.0a1", 2, "1.0"),
            ("1.1", 3, "1.1"),
            ("1.1+local", 4, "1.1+local"),
        ):
            publish_wheel(store, version)
            assert (len(pushes(registry)), version_in(registry)) == (written, newest)
        publish(store, *make_wheel(version="1.1+local", tag="py2-none-any"))
        assert len(pushes(registry)) == 4

    def test_follows_yanks_and_deletes(self, registry: TestRegistry, store: PackageStore) -> None:
        for version in ("1.0", "2.0", "3.0"):
            publish_wheel(store, version)
        store.yank(ACME, HELLO, "3.0", "broken", NOBODY)
        assert version_in(registry) == "2.0"
        store.yank(ACME, HELLO, "3.0", None, NOBODY)
        assert version_in(registry) == "3.0"
        store.delete(ACME, HELLO, "3.0", NOBODY)
        assert version_in(registry) == "2.0"
        store.delete(ACME, HELLO, "1.0", NOBODY)
        assert version_in(registry) == "2.0"

    def test_is_removed_with_the_last_file(self, registry: TestRegistry, store: PackageStore) -> None:
        publish_wheel(store)
        store.delete(ACME, HELLO, "1.0", NOBODY)
        assert tags(registry) == ()
        publish_wheel(store, "2.0")
        assert version_in(registry) == "2.0"

    def test_says_that_nothing_is_left_where_tags_stay(
        self, registry: TestRegistry, make: Callable[[], PackageStore]
    ) -> None:
        """At ghcr.io and Docker Hub."""
        store = make()
        publish_wheel(store)
        registry.refuse["^DELETE"] = (405, "UNSUPPORTED")
        store.delete(ACME, HELLO, "1.0", NOBODY)
        assert document(registry)["annotations"] == {"org.opencontainers.image.title": "hello-world"}
        assert make().catalog.summaries(ACME, [HELLO], NOBODY)[HELLO] == ProjectSummary()
        written = len(pushes(registry))
        with pytest.raises(NotFound):
            store.delete(ACME, HELLO, "1.0", NOBODY)
        assert len(pushes(registry)) == written

    def test_fills_in_versions_from_before(self, registry: TestRegistry, store: PackageStore) -> None:
        """The first publication with a catalogue names the newest version, which may be another one."""
        before = registry.store()
        for version in ("1.0", "3.0"):
            publish_wheel(before, version, extra_headers=[("Summary", f"This is {version}")])
        assert not pushes(registry)
        publish_wheel(store, "2.0")
        annotations = document(registry)["annotations"]
        assert annotations["org.opencontainers.image.version"] == "3.0"
        assert annotations["org.opencontainers.image.description"] == "This is 3.0"

    def test_an_imported_file_may_be_yanked(self, registry: TestRegistry, store: PackageStore) -> None:
        """Then its version isn't the newest, unless there is no other."""
        for version, yanked, newest in (("1.0", "bad", "1.0"), ("0.9", None, "0.9"), ("2.0", "", "0.9")):
            imported = Imported(yanked=yanked)
            store.publish(ACME, make_upload(*make_wheel(version=version)), NOBODY, imported)
            assert version_in(registry) == newest

    def test_long_names_are_left_out(self, registry: TestRegistry, store: PackageStore) -> None:
        """No tag has over 128 characters. The file is published."""
        name = "n" * 129
        published = store.publish(ACME, make_upload(*make_wheel(name)), NOBODY)
        assert "128 characters" in published.catalog_failure
        assert names(store, ProjectName.parse(name))
        assert not pushes(registry)

    def test_long_and_odd_summaries_are_bounded(self, registry: TestRegistry, store: PackageStore) -> None:
        publish_wheel(store, extra_headers=[("Summary", "x\x07\x1b" * 100_000)])
        summary = document(registry)["annotations"]["org.opencontainers.image.description"]
        assert summary == "x" * 1000


class TestCallers:
    @pytest.mark.parametrize(
        "refused",
        [
            {"(PUT|POST|DELETE) acme/pyoci.catalog": (403, "DENIED")},
            {"acme/pyoci.catalog": (401, "UNAUTHORIZED")},
            {"acme/pyoci.catalog": (500, "UNKNOWN")},
            {"acme/pyoci.catalog": (405, "UNSUPPORTED")},
        ],
        ids=str,
    )
    def test_without_rights_publish_all_the_same(
        self, registry: TestRegistry, store: PackageStore, refused: dict[str, tuple[int, str]]
    ) -> None:
        """On ghcr.io, the token of another repository's job."""
        registry.refuse |= refused
        published = store.publish(ACME, make_upload(*make_wheel()), NOBODY)
        assert published.catalog_failure
        assert names(store) == ["hello_world-1.0-py3-none-any.whl"]
        store.yank(ACME, HELLO, "1.0", "", NOBODY)
        store.delete(ACME, HELLO, "1.0", NOBODY)

    def test_may_be_refused_what_is_not_there_yet(self, registry: TestRegistry, store: PackageStore) -> None:
        """Docker Hub answers 401 for a repository that it doesn't have. The write decides."""
        registry.refuse["GET acme/pyoci.catalog/manifests"] = (401, "UNAUTHORIZED")
        assert store.publish(ACME, make_upload(*make_wheel()), NOBODY).catalog_failure == ""
        del registry.refuse["GET acme/pyoci.catalog/manifests"]
        assert version_in(registry) == "1.0"

    def test_what_was_remembered_for_another_is_not_shown(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        publish_wheel(store)
        registry.refuse["hello_world/tags/list"] = (403, "DENIED")
        assert store.catalog.summaries(ACME, [HELLO], NOBODY)
        registry.refuse["acme/pyoci.catalog"] = (403, "DENIED")
        assert store.catalog.summaries(ACME, [HELLO], NOBODY)
        assert not store.catalog.summaries(ACME, [HELLO], Basic("somebody", "else"))

    def test_foreign_tags_are_never_written(self, registry: TestRegistry, store: PackageStore) -> None:
        """PYOCI_CATALOG may name a repository of somebody else by mistake."""
        foreign = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
        }
        made = Document(foreign["mediaType"], json.dumps(foreign).encode())  # type: ignore[arg-type]
        registry.session().push(CATALOG, Tag.parse("hello-world"), made)
        published = store.publish(ACME, make_upload(*make_wheel()), NOBODY)
        assert "something else" in published.catalog_failure
        assert document(registry) == foreign


class TestList:
    def test_is_the_last_source(self, registry: TestRegistry, store: PackageStore) -> None:
        """For one request, and it may be incomplete."""
        publish_wheel(store)
        publish(store, *make_wheel("alpha"))
        registry.calls.clear()
        root = store.catalog.root(ACME, NOBODY)
        assert [str(name) for name in root.projects] == ["alpha", "hello-world"]
        assert (root.source, root.may_be_incomplete) == (ListSource.REPOSITORY, True)
        assert registry.calls == ["GET _catalog", "GET acme/pyoci.catalog/tags/list"]
        registry.refuse.clear()
        assert store.catalog.root(ACME, NOBODY).source is ListSource.CATALOG

    def test_an_empty_list_is_followed_by_the_next(self, registry: TestRegistry, store: PackageStore) -> None:
        """Some registries list nothing to a caller who isn't an administrator."""
        publish_wheel(store)
        registry.refuse.clear()
        registry.answers = {"_catalog": (b'{"repositories": []}', {"Content-Type": "application/json"})}
        assert store.projects(ACME, NOBODY) == (HELLO,)

    def test_without_any_source(self, registry: TestRegistry, store: PackageStore) -> None:
        with pytest.raises(NotFound, match="doesn't list its repositories"):
            store.projects(ACME, NOBODY)

    def test_of_a_namespace_that_is_too_long(self, store: PackageStore) -> None:
        """The catalogue repository can't have a name there."""
        with pytest.raises(NotFound, match="doesn't list its repositories"):
            store.projects(make_namespace("n" * 245), NOBODY)

    def test_anonymous_callers_are_asked_for_credentials(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """Where only the catalogue repository wants some."""
        registry.refuse["acme/pyoci.catalog"] = (401, "UNAUTHORIZED")
        with pytest.raises(Unauthorized):
            store.projects(ACME, NOBODY)

    def test_foreign_tags_are_passed_over(self, registry: TestRegistry, store: PackageStore) -> None:
        publish_wheel(store)
        for tag in ("Not-Normalised", "a_b", "sha256-00.sig", "latest"):
            made = Document(
                "application/vnd.oci.image.index.v1+json", b'{"schemaVersion": 2, "manifests": []}'
            )
            registry.session().push(CATALOG, Tag.parse(tag), made)
        assert [str(name) for name in store.projects(ACME, NOBODY)] == ["hello-world", "latest"]

    def test_names_that_are_too_long_are_passed_over(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """A tag has room for names that no repository of a long namespace can have."""
        deep = Namespace.parse(EMBEDDED, "/".join(["n" * 50] * 3))
        store.publish(deep, make_upload(*make_wheel()), NOBODY)
        session, catalog = registry.session(), CatalogName("pyoci.catalog").repository(deep)
        session.push(catalog, Tag.parse("z" * 120), session.pull(catalog, Tag.parse("hello-world")))
        assert store.catalog.root(deep, NOBODY).projects == (HELLO,)
        assert store.catalog.names(deep, NOBODY) == (HELLO,)
        too_long = ProjectName.parse("z" * 120)
        assert list(store.catalog.summaries(deep, (too_long, HELLO), NOBODY)) == [HELLO]

    def test_what_others_wrote_is_one_line(self, registry: TestRegistry, store: PackageStore) -> None:
        """Without control characters, and bounded; an odd date is none."""
        publish_wheel(store)
        entry = document(registry)
        entry["annotations"] |= {
            "org.opencontainers.image.version": "\x1b[31m1.0\n" + "9" * 100_000,
            "org.opencontainers.image.description": "<script>\r\n\0\u2028" + "x" * 100_000,
            "org.opencontainers.image.created": "99999999999999999999",
        }
        made = Document(entry["mediaType"], json.dumps(entry).encode())
        registry.session().push(CATALOG, Tag.parse("hello-world"), made)
        found = store.catalog.summaries(ACME, [HELLO], NOBODY)[HELLO]
        assert found is not None
        assert (found.summary[:10], len(found.summary)) == ("<script> x", 1000)
        assert (found.version[:9], len(found.version)) == ("[31m1.0 9", 200)
        assert found.released is None
        published = store.publish(ACME, make_upload(*make_wheel(version="2.0")), NOBODY)
        assert (published.catalog_failure, version_in(registry)) == ("", "2.0")

    def test_summaries_take_one_request_each(
        self, registry: TestRegistry, make: Callable[[], PackageStore]
    ) -> None:
        store = make()
        publish_wheel(store, extra_headers=[("Summary", "Says hello")])
        registry.calls.clear()
        found = make().catalog.summaries(ACME, [HELLO], NOBODY)
        assert found == {HELLO: ProjectSummary("Says hello", "1.0", MOMENT)}
        assert registry.calls == ["GET acme/pyoci.catalog/manifests/hello-world"]

    def test_summaries_are_remembered_until_a_change(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        publish_wheel(store)
        store.catalog.summaries(ACME, [HELLO], NOBODY)
        registry.calls.clear()
        store.catalog.summaries(ACME, [HELLO], NOBODY)
        assert registry.calls == []
        publish_wheel(store, "2.0")
        found = store.catalog.summaries(ACME, [HELLO], NOBODY)[HELLO]
        assert found is not None
        assert found.version == "2.0"


class _Upstream:
    """Another package index, without any project."""

    def __init__(self) -> None:
        self.asked = list[str]()

    def page(self, name: str, *, fresh: bool = False) -> UpstreamPage:
        self.asked.append(name)
        raise NotFound(f"there is no {name}")


class TestReservedName:
    @pytest.mark.parametrize("name", ["pyoci-catalog", "PyOCI.Catalog"])
    def test_is_no_project(self, registry: TestRegistry, store: PackageStore, name: str) -> None:
        """It can't be uploaded, and is looked up neither here nor upstream."""
        with pytest.raises(InvalidRequest, match="PYOCI_CATALOG"):
            publish(store, *make_wheel(name))
        registry.calls.clear()
        with pytest.raises(NotFound, match="PYOCI_CATALOG"):
            store.find(ACME, ProjectName.parse(name), NOBODY)
        assert registry.calls == []

    def test_is_not_looked_up_upstream(self, registry: TestRegistry) -> None:
        """A stranger's project of that name is never served."""
        upstream = _Upstream()
        store = registry.store(catalog_name=CatalogName("pyoci.catalog"), upstream=upstream)
        for name in ("pyoci-catalog", "absent"):
            with pytest.raises(NotFound):
                store.find(ACME, ProjectName.parse(name), NOBODY)
        assert upstream.asked == ["absent"]

    def test_is_in_no_list(self, registry: TestRegistry) -> None:
        """Not even where it is a name that a project could have."""
        store = registry.store(catalog_name=CatalogName("catalog"))
        registry.refuse.clear()
        publish_wheel(store)
        assert store.projects(ACME, NOBODY) == (HELLO,)


def test_two_publishers_write_one_tag(registry: TestRegistry, make: Callable[[], PackageStore]) -> None:
    """Publishers of the same project that share no cache: the newest version is there in the end."""
    first, second = make(), make()
    publish_wheel(first, "1.0")
    publish_wheel(second, "2.0")
    publish_wheel(first, "1.5")
    assert version_in(registry) == "2.0"
