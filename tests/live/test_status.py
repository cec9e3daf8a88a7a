"""The status of a project (PEP 792), as clients see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import PUBLISHERS, Publisher, published, refused, uv
from tests.live.test_install import Installer, pip_install, uv_install

REASON = "use hello-planet"
INSTALLERS = [
    pytest.param(pip_install, id="pip", marks=pytest.mark.live("pip")),
    pytest.param(uv_install, id="uv", marks=pytest.mark.live("uv")),
]


@pytest.mark.live("uv")
@pytest.mark.parametrize("install", INSTALLERS)
def test_install(install: Installer, clients: Clients, package_index: PackageIndex, tmp_path: Path) -> None:
    """An archived project is installed; a quarantined one isn't, also by who has its file's address."""
    published(uv(clients, package_index, [packages.wheel(tmp_path)]))
    (file,) = package_index.page("hello-world")["files"]
    python = clients.new_environment("environment")
    for status in ("archived", "deprecated"):
        package_index.set_status("hello-world", status, REASON)
        assert package_index.page("hello-world")["project-status"] == {"status": status, "reason": REASON}
        published(install(clients, package_index, python, "--no-cache-dir", "hello-world"))
        published(clients.attempt("uv", "pip", "uninstall", "--python", python, "hello-world"))
    package_index.set_status("hello-world", "quarantined", "malware")
    output = refused(install(clients, package_index, python, "--no-cache-dir", "hello-world"))
    assert "hello-world" in output
    for path in (file["url"], file["filename"]):
        for ending in ("", ".metadata"):
            answer = package_index.get(f"hello-world/{path}{ending}")
            assert answer.status_code == 403
            assert answer.text == "hello-world is quarantined: malware; its files can't be downloaded"


@pytest.mark.live("uv")
@pytest.mark.parametrize("publish", PUBLISHERS)
def test_publish(publish: Publisher, clients: Clients, package_index: PackageIndex, tmp_path: Path) -> None:
    """Each client shows the reason, and fails; also for a file that is there, which it may skip elsewhere."""
    first = packages.wheel(tmp_path / "first")
    published(uv(clients, package_index, [first]))
    package_index.set_status("hello-world", "archived", REASON)
    second = packages.wheel(tmp_path / "second", version="2.0")
    output = refused(publish(clients, package_index, [second]))
    assert f"hello-world is archived: {REASON}" in " ".join(output.split())
    assert package_index.filenames("hello-world") == [first.name]
