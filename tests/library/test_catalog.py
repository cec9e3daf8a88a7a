"""The catalogue repository, checked and repaired by a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.library import operations
from pyoci.library.registry import RegistryIndex
from pyoci.maintenance.check import CheckedProject
from pyoci.net.transport import Transport
from pyoci.oci.models import EMPTY_BLOB, Document
from pyoci.oci.references import Repository, Tag
from pyoci.oci.registries import EMBEDDED
from pyoci.store.catalog_repository import CatalogName, entry_manifest
from pyoci.store.models import ProjectSummary
from pyoci.store.writing.steps import push_config
from tests.builders import make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import HELLO, NOBODY, make_foreign_image, publish, publish_wheel

ACME = make_namespace()
CATALOG = Repository.parse(EMBEDDED, "acme/pyoci.catalog")


@pytest.fixture
def registry(tmp_path: Path) -> TestRegistry:
    return TestRegistry(tmp_path / "registry")


@pytest.fixture
def open_index(registry: TestRegistry) -> Iterator[Callable[..., RegistryIndex]]:
    transport = Transport(embedded=registry, sleep=lambda _: None)

    def opened(catalog: str = "pyoci.catalog") -> RegistryIndex:
        return RegistryIndex(ACME, NOBODY, transport, catalog=catalog)

    yield opened
    transport.close()


@pytest.fixture
def index(open_index: Callable[..., RegistryIndex]) -> RegistryIndex:
    return open_index()


def check(index: RegistryIndex, *names: str) -> list[CheckedProject]:
    return [each for each in operations.check(index, names) if each.has_package]


def problems(index: RegistryIndex, *names: str) -> list[tuple[str, str]]:
    found = (problem for each in check(index, *names) for problem in each.problems)
    return sorted((str(problem.project), problem.kind) for problem in found)


def repair(index: RegistryIndex, *names: str) -> list[tuple[str, str]]:
    found = [problem for each in check(index, *names) for problem in each.problems]
    return sorted((str(each.problem.project), each.outcome) for each in operations.repair(index, found))


def put_entry(registry: TestRegistry, name: str, version: str) -> None:
    push_config(registry.session(), CATALOG, EMPTY_BLOB)
    manifest = entry_manifest(ProjectName.parse(name), ProjectSummary(version=version))
    registry.session().push(CATALOG, Tag.parse(name), Document.of(manifest))


def test_projects_from_before_are_filled_in(registry: TestRegistry, index: RegistryIndex) -> None:
    """And images are not."""
    before = registry.store()
    publish_wheel(before, extra_headers=[("Summary", "Says hello")])
    publish(before, *make_wheel("other"))
    registry.put("1.0", make_foreign_image(registry, "image"), "image")
    assert problems(index) == [("hello-world", "catalogue lacks it"), ("other", "catalogue lacks it")]
    assert repair(index) == [("hello-world", "repaired"), ("other", "repaired")]
    assert problems(index) == []
    registry.refuse = {"_catalog": (404, "NAME_UNKNOWN")}
    assert index.projects() == ("hello-world", "other")
    found = index.store.catalog.summaries(ACME, [HELLO], NOBODY)[HELLO]
    assert found is not None
    assert (found.summary, found.version) == ("Says hello", "1.0")


def test_what_is_out_of_date_is_written(registry: TestRegistry, index: RegistryIndex) -> None:
    """After publishers who may not write there, or copies."""
    publish_wheel(registry.store(catalog_name=CatalogName("pyoci.catalog")))
    publish_wheel(registry.store(), "2.0")
    assert problems(index) == [("hello-world", "catalogue is outdated")]
    assert repair(index) == [("hello-world", "repaired")]
    assert problems(index) == []


def test_what_has_no_files_is_removed(registry: TestRegistry, index: RegistryIndex) -> None:
    """Emptied, or never there."""
    publish_wheel(registry.store(catalog_name=CatalogName("pyoci.catalog")))
    registry.store().delete(ACME, HELLO, "1.0", NOBODY)
    put_entry(registry, "ghost", "1.0")
    kind = "catalogue has no files for it"
    assert problems(index) == [("ghost", kind), ("hello-world", kind)]
    assert repair(index) == [("ghost", "repaired"), ("hello-world", "repaired")]
    assert problems(index) == []
    assert registry.session().tags(CATALOG) == ()


def test_what_cannot_be_read_is_left(registry: TestRegistry, index: RegistryIndex) -> None:
    """A list proves nothing, and neither does a refusal."""
    put_entry(registry, "secret", "1.0")
    registry.refuse = {"acme/secret/": (403, "DENIED")}
    assert problems(index) == [("secret", "unreadable")]
    assert repair(index) == [("secret", "left")]
    assert registry.session().tags(CATALOG) == ("secret",)


def test_without_rights_the_reason_is_given(registry: TestRegistry, index: RegistryIndex) -> None:
    publish_wheel(registry.store())
    found = [problem for each in check(index) for problem in each.problems]
    registry.refuse = {"(PUT|POST) acme/pyoci.catalog": (403, "DENIED")}
    (repaired,) = operations.repair(index, found)
    assert (repaired.outcome, "403" in repaired.why) == ("left", True)


def test_named_projects_are_filled_in_where_nothing_is_listed(
    registry: TestRegistry, index: RegistryIndex
) -> None:
    """Neither by the registry nor by the catalogue, which is still missing."""
    publish_wheel(registry.store())
    registry.refuse = {"_catalog": (404, "NAME_UNKNOWN")}
    assert repair(index, "hello-world") == [("hello-world", "repaired")]
    assert problems(index) == []


def test_is_not_looked_at_without_the_setting(
    registry: TestRegistry, open_index: Callable[[str], RegistryIndex]
) -> None:
    publish_wheel(registry.store())
    registry.calls.clear()
    assert problems(open_index("")) == []
    assert not [call for call in registry.calls if "pyoci.catalog" in call]


def test_a_published_file_is_listed(index: RegistryIndex, tmp_path: Path, registry: TestRegistry) -> None:
    """By the command, too."""
    filename, content = make_wheel()
    (tmp_path / filename).write_bytes(content)
    index.publish(tmp_path / filename)
    assert registry.session().tags(CATALOG) == ("hello-world",)
