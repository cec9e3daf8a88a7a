"""The namespace of an upload whose address can mean more than one."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, PyOCIError
from pyoci.oci.credentials import Basic
from pyoci.oci.models import IMAGE_INDEX
from pyoci.store.service import PackageStore
from pyoci.store.writing.destination import UploadAddress
from tests.builders import make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import HELLO, NOBODY, make_upload

ACME, SIMPLE = make_namespace(), make_namespace("acme/simple")
ALIAS = UploadAddress(SIMPLE, ACME)
PAGE = UploadAddress(make_namespace("acme/hello-world"), pages=((ACME, HELLO),))


def send(store: PackageStore, address: Any, name: str = "hello-world", **options: Any) -> str:
    """Upload a wheel; returns the repository that it is in."""
    upload = make_upload(*make_wheel(name, **options))
    return store.publish(address, upload, NOBODY).repository.name


class TestAlias:
    """An upload to `<index>/simple/`, which is an alias of `<index>/` unless that namespace is in use."""

    def test_an_unused_namespace(self, store: PackageStore) -> None:
        """The upload goes to the index above."""
        assert send(store, ALIAS) == "acme/hello_world"
        assert send(store, ALIAS, version="2.0") == "acme/hello_world"

    def test_a_namespace_that_has_the_project(self, registry: TestRegistry, store: PackageStore) -> None:
        """The upload goes there, also if the registry lists no repositories."""
        send(store, SIMPLE)
        registry.refuse = {"_catalog": (404, "UNSUPPORTED")}
        assert send(registry.store(), ALIAS, version="2.0") == "acme/simple/hello_world"
        assert send(registry.store(), ALIAS, "other") == "acme/other"

    @pytest.mark.parametrize("neighbour", ["acme/simple", "acme/simple/deeper"])
    def test_a_namespace_that_has_anything(
        self, registry: TestRegistry, store: PackageStore, neighbour: str
    ) -> None:
        """The upload goes there if the registry lists any repository in it."""
        send(store, make_namespace(neighbour), "other")
        assert send(registry.store(), ALIAS) == "acme/simple/hello_world"

    def test_a_repository_whose_name_begins_the_same(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """`acme/simple-things` is not in `acme/simple`, nor is the project `acme/simple`."""
        send(store, make_namespace("acme/simple-things"), "other")
        send(store, ACME, "simple")
        assert send(registry.store(), ALIAS) == "acme/hello_world"

    def test_a_project_that_is_not_listed_any_more(self, registry: TestRegistry, store: PackageStore) -> None:
        """The registry may lag behind our own write: the project isn't split."""
        send(store, SIMPLE)
        registry.refuse = {"tags/list": (404, "NAME_UNKNOWN"), "_catalog": (404, "UNSUPPORTED")}
        store.delete(SIMPLE, HELLO, make_wheel()[0], NOBODY)
        assert send(store, ALIAS, version="2.0") == "acme/simple/hello_world"

    @pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHORIZED"), (403, "DENIED"), (404, "")])
    def test_a_denied_repository_counts_as_absent(
        self, registry: TestRegistry, store: PackageStore, status: int, code: str
    ) -> None:
        """Docker Hub answers 401 for what it doesn't have. The destination reveals no more than that."""
        registry.refuse = {"simple/hello_world/tags/list": (status, code), "_catalog": (status, code)}
        assert send(store, ALIAS) == "acme/hello_world"

    def test_a_repository_without_tags_counts_as_absent(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """gcr.io answers an empty list for a repository that it doesn't have."""
        registry.refuse = {"simple/hello_world/tags/list": (200, ""), "_catalog": (404, "UNSUPPORTED")}
        assert send(store, ALIAS) == "acme/hello_world"

    @pytest.mark.parametrize("call", ["simple/hello_world/tags/list", "_catalog"])
    @pytest.mark.parametrize("status", [429, 500, 502, 503])
    def test_a_registry_that_fails(
        self, registry: TestRegistry, store: PackageStore, call: str, status: int
    ) -> None:
        """Nothing is stored anywhere."""
        registry.refuse = {call: (status, "UNAVAILABLE")}
        with pytest.raises(PyOCIError):
            send(store, ALIAS)
        assert not [line for line in registry.calls if line.startswith(("PUT", "POST"))]

    def test_the_namespace_of_others_is_not_revealed(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """A caller who may not read the namespace gets the same answer, in use or not."""
        answers = []
        for in_use in (False, True):
            if in_use:
                send(store, SIMPLE, version="3.0")
            registry.refuse = {"^GET acme/simple/": (403, "DENIED"), "_catalog": (403, "DENIED")}
            registry.calls.clear()
            upload = make_upload(*make_wheel(version="1.0"))
            found = store.publish(ALIAS, upload, Basic("other", "secret"))
            answers.append((found.repository.name, registry.calls[:3]))
            registry.refuse = {}
        assert answers[0] == answers[1]


class TestOwnAddress:
    """An upload of a project to the address of its page."""

    def test_of_a_project_in_the_index(self, registry: TestRegistry, store: PackageStore) -> None:
        """Clients would not find the file there. It is refused, and nothing is stored."""
        send(store, ACME)
        registry.calls.clear()
        with pytest.raises(InvalidRequest, match=r"is the address of a project; expected .*local/acme/$"):
            send(store, PAGE, version="2.0")
        assert not [line for line in registry.calls if line.startswith(("PUT", "POST"))]

    def test_of_an_emptied_project_in_the_index(self, store: PackageStore) -> None:
        """The project still exists."""
        send(store, ACME)
        store.delete(ACME, HELLO, "1.0", NOBODY)
        with pytest.raises(InvalidRequest, match="is the address of a project"):
            send(store, PAGE)

    def test_of_an_absent_project(self, store: PackageStore) -> None:
        """The address is a namespace then, such as GitLab's `<group>/<project>`."""
        assert send(store, PAGE) == "acme/hello-world/hello_world"
        assert send(store, PAGE, version="2.0") == "acme/hello-world/hello_world"

    def test_of_a_namespace_in_use(self, store: PackageStore) -> None:
        """Uploads to it still work."""
        send(store, PAGE)
        send(store, ACME)
        assert send(store, PAGE, version="2.0") == "acme/hello-world/hello_world"

    def test_of_another_project(self, store: PackageStore) -> None:
        """A namespace may have the name of a project."""
        send(store, ACME)
        assert send(store, PAGE, "other") == "acme/hello-world/other"

    def test_of_a_container_image(self, registry: TestRegistry, store: PackageStore) -> None:
        """GitLab stores the images of `<group>/<project>` there."""
        image = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []}
        registry.put("1.0", image)
        assert send(store, PAGE) == "acme/hello-world/hello_world"

    def test_of_what_is_denied(self, registry: TestRegistry, store: PackageStore) -> None:
        """Whether the index has the project is unknown."""
        registry.refuse = {"acme/hello_world/tags/list": (403, "DENIED")}
        assert send(store, PAGE) == "acme/hello-world/hello_world"

    def test_exactly_that_namespace(self, store: PackageStore) -> None:
        """An address that can mean nothing else is used as it is."""
        send(store, ACME)
        assert send(store, PAGE.namespace, version="2.0") == "acme/hello-world/hello_world"

    def test_a_project_called_simple(self, registry: TestRegistry, store: PackageStore) -> None:
        """An upload of it to the alias goes to the index above, also if it exists."""
        address = UploadAddress(SIMPLE, ACME, ((ACME, ProjectName.parse("simple")),))
        for version in ("1.0", "2.0"):
            assert send(registry.store(), address, "simple", version=version) == "acme/simple"
