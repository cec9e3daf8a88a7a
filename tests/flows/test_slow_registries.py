"""Registries that answer slowly by design, or need thousands of requests for one page."""

from __future__ import annotations

import threading

from pyoci.store.project import CHILDREN
from tests.flows.conftest import Lines, MakeClient
from tests.hostile_registries import ChildrenRegistry
from tests.serving import served

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
ROOT = "/lab/acme/hello-world/"


def test_manifests_are_read_side_by_side(make_client: MakeClient) -> None:
    """The registry answers none before eight are requested."""
    together = threading.Barrier(8)
    registry = ChildrenRegistry(16, before=lambda: together.wait(20))
    with served(registry) as url:
        answer = make_client(PYOCI_REGISTRIES=f"lab={url}").get(ROOT, headers=JSON)
    assert len(answer.get_json()["files"]) == 16


def test_a_file_costs_its_own_manifest_only(make_client: MakeClient) -> None:
    """Not those of its neighbours in the same version."""
    registry = ChildrenRegistry(16)
    with served(registry) as url:
        name = "hello_world-1.0-cp3-none-manylinux_2_5_x86_64.whl"
        make_client(PYOCI_REGISTRIES=f"lab={url}").get(f"{ROOT}{name}.metadata")
    assert registry.asked == 1


def test_a_page_asks_for_so_many_manifests_at_most(make_client: MakeClient, lines: Lines) -> None:
    """The others are left out, which is logged once. The next page reads them."""
    registry = ChildrenRegistry(CHILDREN + 20)
    with served(registry) as url:
        client = make_client(PYOCI_REGISTRIES=f"lab={url}", PYOCI_CACHE_TTL="0")
        answer = client.get(ROOT, headers=JSON)
        assert (len(answer.get_json()["files"]), registry.asked) == (CHILDREN, CHILDREN)
        (line,) = [line for line in lines.read_lines() if line["event"] == "over the cap"]
        assert (line["manifests"], line["left_out"]) == (CHILDREN, 20)
        assert len(client.get(ROOT, headers=JSON).get_json()["files"]) == CHILDREN + 20
    assert registry.asked == CHILDREN + 20
