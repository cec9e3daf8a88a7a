"""Registries that answer slowly by design, or need thousands of requests for one page."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from pyoci.store.project import CHILDREN
from tests.flows.conftest import Lines, MakeClient
from tests.hostile_registries import ChildrenRegistry, LargeRegistry
from tests.serving import served
from tests.waiting import until

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
ROOT = "/lab/acme/hello-world/"


def test_manifests_are_read_side_by_side(make_client: MakeClient) -> None:
    """After the first, the registry answers none before eight are requested."""
    together = threading.Barrier(8)
    registry = ChildrenRegistry(17, before=lambda: registry.asked == 1 or together.wait(20))
    with served(registry) as url:
        answer = make_client(PYOCI_REGISTRIES=f"lab={url}").get(ROOT, headers=JSON)
    assert len(answer.get_json()["files"]) == 17


def test_the_first_manifest_comes_before_the_others(make_client: MakeClient) -> None:
    """A registry that answers slowly holds one thread of the request."""
    meanwhile: list[int] = []

    def wait() -> None:
        if registry.asked == 1:
            time.sleep(0.3)
            meanwhile.append(registry.asked)

    registry = ChildrenRegistry(16, before=wait)
    with served(registry) as url:
        make_client(PYOCI_REGISTRIES=f"lab={url}").get(ROOT, headers=JSON)
    assert (meanwhile, registry.asked) == ([1], 16)


def test_a_request_asks_for_one_document_while_another_reads_large_ones(make_client: MakeClient) -> None:
    """It may have to wait before it can read that, and the others would each hold a thread meanwhile."""
    asked: list[str] = []
    is_reading, may_go_on = threading.Event(), threading.Event()

    def during(path: str) -> None:
        asked.append(path.split("/")[2])
        if asked.count("first") > 4:  # it asks for a large document again when it may read that
            is_reading.set()
            assert may_go_on.wait(20)

    with served(LargeRegistry(4, 1000, during)) as url:
        client = make_client(PYOCI_REGISTRIES=f"lab={url}")
        with ThreadPoolExecutor(2) as threads:
            answers = [threads.submit(client.get, "/lab/first/hello-world/", headers=JSON)]
            assert is_reading.wait(20)
            answers.append(threads.submit(client.get, "/lab/second/hello-world/", headers=JSON))
            until(lambda: "second" in asked, "the second request to ask for a document")
            time.sleep(0.3)
            count = asked.count("second")
            may_go_on.set()
        assert count == 1
    assert [len(answer.result().get_json()["files"]) for answer in answers] == [4000, 4000]


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
