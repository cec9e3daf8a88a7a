"""Registries that answer slowly by design, or need thousands of requests for one page."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyoci.oci.models import IMAGE_INDEX, IMAGE_MANIFEST
from pyoci.store.layout import PACKAGE_TYPE
from pyoci.store.project import CHILDREN
from tests.flows.conftest import Lines, MakeClient
from tests.serving import served


@dataclass
class ChildrenRegistry:
    """One version with many files, whose hashes are in their manifests alone. `before` is called before the
    answer to each request for a manifest by its digest.
    """

    count: int
    before: Callable[[], object] = lambda: None
    asked: int = 0
    children: dict[str, bytes] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        entries = []
        for number in range(self.count):
            layer = {"mediaType": PACKAGE_TYPE, "size": 1, "digest": f"sha256:{number:064x}"}
            child = _json(
                {"schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": layer, "layers": [layer]}
            )
            digest = f"sha256:{hashlib.sha256(child).hexdigest()}"
            self.children[digest] = child
            platform = {"architecture": f"cp3-none-manylinux_2_{number}_x86_64.whl", "os": "any"}
            entries.append(
                {"mediaType": IMAGE_MANIFEST, "digest": digest, "size": len(child), "platform": platform}
            )
        self.index = _json(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE_INDEX,
                "artifactType": PACKAGE_TYPE,
                "manifests": entries,
            }
        )

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        reference = environ["PATH_INFO"].rpartition("/")[2]
        kind, body = "application/json", b'{"name": "acme/hello_world", "tags": ["1.0"]}'
        if reference == "1.0":
            kind, body = IMAGE_INDEX, self.index
        elif "/blobs/" in environ["PATH_INFO"]:
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        elif reference.startswith("sha256:"):
            with self.guard:
                self.asked += 1
            self.before()
            kind, body = IMAGE_MANIFEST, self.children[reference]
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


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
