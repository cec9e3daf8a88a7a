"""If a process is killed while it publishes or deletes, only whole files are left, and all other files."""

from __future__ import annotations

import pytest

from pyoci.embedded import create_registry_app
from tests.serving import served
from tests.torture.survival import kill_at_each_step

pytestmark = pytest.mark.long


def test_at_each_request(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SIGKILL after each request to the registry: of an upload, and of the deletion of the last file."""
    folder = tmp_path_factory.mktemp("registry")
    with served(create_registry_app(folder, htpasswd=None, local_only=False)) as registry:
        killed = kill_at_each_step(registry, "acme/killed", "upload", "last delete")
    assert len(killed) > 12
