"""The list of a namespace's projects, and what it says of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.store import catalog
from pyoci.store.models import ListSource, ProjectSummary
from pyoci.store.service import PackageStore
from tests.builders import make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import HELLO, NOBODY, make_foreign_image, page, publish, publish_wheel

ACME = make_namespace()
IMAGE = ProjectName.parse("image")
SUMMARY = [("Summary", "Says hello")]


def summary_of(store: PackageStore, name: ProjectName = HELLO) -> ProjectSummary | None:
    return store.catalog.summaries(ACME, [name], NOBODY)[name]


class TestRoot:
    def test_names_its_source(self, store: PackageStore) -> None:
        """A list of the registry itself is complete."""
        publish_wheel(store)
        root = store.catalog.root(ACME, NOBODY)
        assert (root.projects, root.namespace) == ((HELLO,), ACME)
        assert (root.source, root.may_be_incomplete) == (ListSource.CATALOG, False)

    def test_leaves_out_images_that_somebody_has_looked_at(self, registry: TestRegistry) -> None:
        """For all who share the cache; nobody has looked at the list's other repositories."""
        store = registry.store()
        publish_wheel(store)
        registry.put("latest", make_foreign_image(registry, "image"), "image")
        assert store.projects(ACME, NOBODY) == (HELLO, IMAGE)
        assert store.catalog.summaries(ACME, [HELLO, IMAGE], NOBODY)[IMAGE] is None
        assert store.projects(ACME, NOBODY) == (HELLO,)

    def test_shows_a_project_where_an_image_was(self, registry: TestRegistry, store: PackageStore) -> None:
        registry.put("latest", make_foreign_image(registry, "image"), "image")
        store.catalog.summaries(ACME, [IMAGE], NOBODY)
        assert store.projects(ACME, NOBODY) == ()
        publish(store, *make_wheel("image"))
        assert store.projects(ACME, NOBODY) == (IMAGE,)


class TestSummaries:
    @pytest.mark.parametrize(
        ("versions", "newest"),
        [
            (["1.0", "2.0"], "2.0"),
            (["1.0", "2.0", "3.0a1"], "2.0"),
            (["1.0a1", "1.0a2"], "1.0a2"),
            (["1.9", "1.10"], "1.10"),
        ],
    )
    def test_names_the_newest_version(self, store: PackageStore, versions: list[str], newest: str) -> None:
        """By the rule of the page."""
        for version in versions:
            publish_wheel(store, version, extra_headers=[("Summary", f"This is {version}")])
        found = summary_of(store)
        assert found is not None
        assert (found.version, found.summary) == (newest, f"This is {newest}")

    def test_passes_over_yanked_versions(self, store: PackageStore) -> None:
        for version in ("1.0", "2.0"):
            publish_wheel(store, version)
        store.yank(ACME, HELLO, "2.0", "broken", NOBODY)
        assert summary_of(store) == ProjectSummary(version="1.0", released=_published(store, "1.0"))
        store.yank(ACME, HELLO, "1.0", "", NOBODY)
        expected = ProjectSummary(version="2.0", released=_published(store, "2.0"), yanked=True)
        assert summary_of(store) == expected

    def test_has_the_date_of_the_version(self, registry: TestRegistry) -> None:
        store = registry.store(now=lambda: datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))
        publish_wheel(store, extra_headers=SUMMARY)
        expected = ProjectSummary("Says hello", "1.0", datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))
        assert summary_of(store) == expected

    def test_of_an_emptied_project_is_empty(self, store: PackageStore) -> None:
        """It is still a project."""
        publish_wheel(store)
        store.delete(ACME, HELLO, "1.0", NOBODY)
        assert summary_of(store) == ProjectSummary()

    def test_takes_few_requests(self, registry: TestRegistry, store: PackageStore) -> None:
        """However many versions a project has; and none while they are remembered."""
        for number in range(8):
            publish_wheel(store, f"1.{number}")
        registry.calls.clear()
        fresh = registry.store()
        assert summary_of(fresh) is not None
        assert len(registry.calls) <= 4
        registry.calls.clear()
        summary_of(fresh)
        assert len([call for call in registry.calls if "blobs" in call or call.startswith("GET")]) <= 1

    def test_are_asked_of_the_first_projects_alone(self, registry: TestRegistry, store: PackageStore) -> None:
        names = [ProjectName.parse(f"p{number}") for number in range(catalog.SUMMARIES + 3)]
        store.catalog.summaries(ACME, names, NOBODY)
        assert len({call for call in registry.calls if "tags/list" in call}) == catalog.SUMMARIES

    def test_lack_what_is_refused(self, registry: TestRegistry, store: PackageStore) -> None:
        """The other projects are shown all the same."""
        publish_wheel(store)
        publish(store, *make_wheel("other"))
        registry.refuse = {"other/tags/list": (403, "DENIED")}
        found = registry.store().catalog.summaries(ACME, [HELLO, ProjectName.parse("other")], NOBODY)
        assert list(found) == [HELLO]

    def test_read_a_few_versions_at_most(self, registry: TestRegistry, store: PackageStore) -> None:
        """A project whose newest versions are foreign documents costs no request for each of them."""
        image = make_foreign_image(registry)
        for number in range(30):
            registry.put(f"2.{number}", image)
        publish_wheel(store)
        registry.calls.clear()
        assert summary_of(registry.store()) is not None
        assert len(registry.calls) <= 10

    def test_survive_a_summary_that_is_no_text(self, registry: TestRegistry, store: PackageStore) -> None:
        """What the label has is bounded."""
        publish_wheel(store)
        image_index = registry.document("1.0")
        image_index["annotations"]["org.opencontainers.image.description"] = "x" * 100_000
        registry.put("1.0", image_index)
        found = summary_of(registry.store())
        assert found is not None
        assert len(found.summary) == 1000


def _published(store: PackageStore, version: str) -> datetime | None:
    files = page(store).files
    return next(file.upload_time for file in files if str(file.version) == version)
