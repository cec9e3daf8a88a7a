"""docker-registry has lost blobs while the tags stayed: uploading the same file again restores it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from pyoci.oci.quirks import ACCEPT
from tests.builders import make_sdist, make_wheel
from tests.live.programs import find
from tests.live.servers import Port, Server, Servers, start_docker_registry, start_pyoci

pytestmark = pytest.mark.live("docker-registry")

FILES = dict([make_wheel(), make_sdist(), make_wheel(tag="py2-none-any")])
SECONDS = 60


@dataclass(slots=True)
class Lab:
    """A docker-registry that can be stopped, cleaned up and started again, and PyOCI in front of it."""

    servers: Servers
    port: Port
    folder: Path
    pyoci: Server
    registry: Server

    def upload(self, filename: str, content: bytes) -> requests.Response:
        form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
        files = {"content": (filename, content)}
        return requests.post(f"{self.pyoci.url}/lab/acme/", data=form, files=files, timeout=SECONDS)

    def download(self, filename: str) -> requests.Response:
        return requests.get(f"{self.pyoci.url}/lab/acme/hello-world/{filename}", timeout=SECONDS)

    def page(self) -> str:
        headers = {"Cache-Control": "no-cache"}
        return requests.get(f"{self.pyoci.url}/lab/acme/hello-world/", headers=headers, timeout=SECONDS).text

    def ask(self, method: str, path: str) -> requests.Response:
        url = f"{self.port.url}/v2/acme/hello_world/{path}"
        return requests.request(method, url, headers={"Accept": ACCEPT}, timeout=SECONDS)

    def restart(self, *between: str) -> None:
        """Stop the registry, run its program with these arguments, and start the registry again."""
        self.registry.end()
        self.registry.wait()
        program = find("docker-registry")
        assert program is not None
        if between:
            configuration = self.servers.folder / "lost-registry.yml"
            command = [program, *between, str(configuration)]
            subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
        self.registry = start_docker_registry(self.servers, "lost-registry", self.port, folder=self.folder)

    def clean_up(self) -> None:
        """The command in docker-registry's documentation for untagged manifests."""
        self.restart("garbage-collect", "--delete-untagged")

    def delete_as_rust(self) -> None:
        """Delete a version's manifests and blobs, like the Rust PyOCI."""
        index: Any = self.ask("GET", "manifests/1.0").json()
        for entry in index["manifests"]:
            manifest: Any = self.ask("GET", f"manifests/{entry['digest']}").json()
            for blob in (*manifest["layers"], manifest["config"]):
                assert self.ask("DELETE", f"blobs/{blob['digest']}").status_code in {202, 404}
            assert self.ask("DELETE", f"manifests/{entry['digest']}").status_code == 202


@pytest.fixture
def lab(servers: Servers, tmp_path: Path) -> Iterator[Lab]:
    port, own = Port(), Port()
    registry = start_docker_registry(servers, "lost-registry", port, folder=tmp_path / "registry")
    pyoci = start_pyoci(servers, "lost-pyoci", own, PYOCI_REGISTRIES=f"lab={port.url}")
    made = Lab(servers, port, tmp_path / "registry", pyoci, registry)
    yield made
    for server in (pyoci, made.registry):
        server.end()
        server.wait()
    port.close()
    own.close()


@pytest.mark.parametrize("lose", [Lab.clean_up, Lab.delete_as_rust], ids=["garbage-collect", "Rust"])
def test_the_same_upload_brings_a_file_back(lab: Lab, lose: Any) -> None:
    """After the answer "is published" the file can be downloaded, whatever became of the version's other
    files.
    """
    (wheel, first), (sdist, second), (new, third) = FILES.items()
    for filename, content in ((wheel, first), (sdist, second)):
        assert lab.upload(filename, content).status_code == 200
    lose(lab)
    assert lab.download(wheel).status_code == 404
    answer = lab.upload(wheel, first)
    assert (answer.status_code, "is published" in answer.text) == (200, True), answer.text
    assert lab.download(wheel).content == first
    assert lab.download(f"{wheel}.metadata").status_code == 200
    assert lab.download(sdist).status_code == 404
    assert lab.upload(new, third).status_code == 200
    assert lab.upload(sdist, second).status_code == 200
    assert {name: lab.download(name).content for name in FILES} == FILES
    assert all(name in lab.page() for name in FILES)
