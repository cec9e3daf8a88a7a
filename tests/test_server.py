"""gunicorn's settings that depend on the machine."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

_PRINT = (
    "import resource, pyoci.server as server;"
    "print(*resource.getrlimit(resource.RLIMIT_NOFILE), server.worker_connections)"
)


@pytest.mark.parametrize(
    ("soft", "hard", "connections"), [(64, 300, 100), (300, 300, 100), (256, 4096, 1000)]
)
def test_descriptors(soft: int, hard: int, connections: int) -> None:
    """The soft limit is raised to the hard one; each connection may take three descriptors."""
    limits = (soft, hard)
    found = subprocess.run(
        [sys.executable, "-c", _PRINT],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
        env={"PYOCI_EMBEDDED": "/nonexistent", "PATH": ""},
    )
    assert found.stdout.split() == [str(hard), str(hard), str(connections)]
