"""gunicorn's settings that depend on the machine."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import make_certificate
from tests.live.environments import CHECKOUT
from tests.live.servers import Port

_PRINT = (
    "import resource, pyoci.server as server;"
    "print(*resource.getrlimit(resource.RLIMIT_NOFILE), server.worker_connections)"
)


@pytest.mark.parametrize(
    ("soft", "hard", "connections"), [(64, 300, 100), (300, 300, 100), (256, 4096, 1000)]
)
def test_descriptors(soft: int, hard: int, connections: int) -> None:
    """The soft limit is raised to the hard limit. Each connection may need three descriptors."""
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


def test_tls_of_its_own(tmp_path: Path) -> None:
    """There is a warning at the start, because threads then wait for slow clients."""
    key, certificate = make_certificate(tmp_path, "pyoci.example")
    port = Port()
    command = [sys.executable, "-m", "gunicorn", "wsgi:app", "--keyfile", str(key)]
    command += ["--certfile", str(certificate)]
    environment = {"PORT": str(port.number), "PYOCI_EMBEDDED": str(tmp_path / "packages"), "PATH": ""}
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            lines = (json.loads(line) for line in process.stderr if line.startswith("{"))
            warning = next(line for line in lines if line["level"] == "warning")
            assert warning["event"] == "a few slow clients can stop a server that does TLS itself"
            assert warning["expected"] == "TLS in a proxy in front, and no certfile"
        finally:
            process.terminate()
            process.communicate()
    port.close()


def test_workers_seldom_look_for_garbage() -> None:
    """All threads stand still meanwhile."""
    code = (
        "import gc, queue, types, pyoci.server as server;"
        "server.post_fork(types.SimpleNamespace(SIG_QUEUE=queue.SimpleQueue()), None);"
        "print(*gc.get_threshold())"
    )
    environment = {"PYOCI_EMBEDDED": "/nonexistent", "PATH": ""}
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60, env=environment
    )
    assert found.stdout.split() == ["3000", "3", "100"]


def test_workers_prepare_for_the_first_request() -> None:
    """A worker starts `ForWorker.prepare` in the background."""
    code = (
        "import threading, types; from pyoci import app, server;"
        "prepared = threading.Event(); callable = types.SimpleNamespace(extensions={});"
        "callable.extensions[app.WORKER] = app.ForWorker(*[None] * 6, prepared.set);"
        "served = types.SimpleNamespace(app=types.SimpleNamespace(callable=callable), serve_with=print);"
        "server.post_worker_init(served); print(prepared.wait(20))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "True"
