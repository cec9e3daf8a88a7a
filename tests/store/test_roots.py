"""The projects of a namespace, from the registry's list of repositories."""

from __future__ import annotations

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound
from pyoci.store.models import Root
from pyoci.store.service import PackageStore
from tests.builders import make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import (
    NOBODY,
    make_upload,
    publish,
)

ACME = make_namespace()
WHEEL, BYTES = make_wheel()


class TestRoot:
    """The projects of a namespace."""

    def test_lists_its_own(self, store: PackageStore) -> None:
        """Sorted and normalised, without those of namespaces below or beside it."""
        for name in ("zeta", "Alpha.Beta"):
            publish(store, *make_wheel(name))
        for path in ("acme/below", "acme-other"):
            store.publish(make_namespace(path), make_upload(*make_wheel()), NOBODY)
        assert [str(name) for name in store.projects(ACME, NOBODY)] == ["alpha-beta", "zeta"]

    def test_takes_one_short_page_of_the_list(self, registry: TestRegistry, store: PackageStore) -> None:
        """For the page of a missing project: one more request, for any number of repositories."""
        for path in ("acme", "acme/below", "zeta"):
            store.publish(make_namespace(path), make_upload(*make_wheel()), NOBODY)
        hello = ProjectName.parse("hello-world")
        found = store.find(ACME, ProjectName.parse("below"), NOBODY, below=make_namespace("acme/below"))
        assert found == Root((hello,))
        registry.calls.clear()
        for path in ("acm", "b"):
            with pytest.raises(NotFound):
                store.find(ACME, ProjectName.parse(path), NOBODY, below=make_namespace(path))
        assert len([call for call in registry.calls if "_catalog" in call]) == 2
        registry.refuse = {"_catalog": (404, "NAME_UNKNOWN")}
        with pytest.raises(NotFound):
            store.find(ACME, ProjectName.parse("below"), NOBODY, below=make_namespace("acme/below"))

    @pytest.mark.parametrize(("status", "code"), [(404, "NAME_UNKNOWN"), (405, "UNSUPPORTED")])
    def test_without_a_list_is_not_found(
        self, registry: TestRegistry, store: PackageStore, status: int, code: str
    ) -> None:
        """ghcr.io and others have no _catalog."""
        registry.refuse = {"_catalog": (status, code)}
        with pytest.raises(NotFound, match="doesn't list its repositories"):
            store.projects(ACME, NOBODY)
