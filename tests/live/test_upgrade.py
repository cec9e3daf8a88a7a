"""An old server and a new one: while one replaces the other, no client is refused."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.asking import Asking, workers
from tests.live.environments import CHECKOUT
from tests.live.indexes import PackageIndex
from tests.live.nginx import start_nginx
from tests.live.servers import Port, Server, Servers, htpasswd, start_pyoci
from tests.live.sockets import is_well
from tests.live.stopping import slow_download, slow_upload
from tests.waiting import until

SIZE = 20_000_000  # bytes
LIMIT = 60  # seconds until a step has to be over


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return packages.wheel(tmp_path, ballast=SIZE)


@pytest.fixture
def second_file(tmp_path: Path) -> Path:
    return packages.wheel(tmp_path, tag="py3-none-manylinux_2_17_x86_64", ballast=SIZE)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The settings that both have: packages, passwords and cache."""
    return {
        "PYOCI_EMBEDDED": str(tmp_path / "embedded"),
        "PYOCI_EMBEDDED_HTPASSWD": str(htpasswd(tmp_path / "htpasswd", me="me")),
        "PYOCI_CACHE_URL": f"file://{tmp_path}/cache",
    }


class Busy:
    """Clients that use a server while its processes change: with pages, a download and an upload."""

    def __init__(self, server: Server, file: Path, second_file: Path) -> None:
        self.server, self.file, self.second_file = server, file, second_file
        self.index = PackageIndex.new(server, "local", "").signed_in("me", "me")
        assert slow_upload(self.index, server, file, pause=0) == 200

    def while_(self, change: Callable[[], None]) -> None:
        """Check that no client notices `change`."""
        path = self.index.url.removeprefix(self.server.url) + "hello-world/"
        begun = threading.Event()
        with Asking(self.server, path) as asking, ThreadPoolExecutor(2) as clients:
            download = clients.submit(slow_download, self.index, self.server, self.file, begun)
            upload = clients.submit(slow_upload, self.index, self.server, self.second_file)
            assert begun.wait(LIMIT)
            change()
            assert download.result() == hashlib.sha256(self.file.read_bytes()).hexdigest()
            assert upload.result() == 200
        assert all(future.result() > 0 for future in asking.futures)
        assert set(self.index.filenames("hello-world")) == {self.file.name, self.second_file.name}


class TestTwoMasters:
    """SIGUSR2: a new gunicorn at the same port, with the newly installed program."""

    @pytest.fixture
    def server(
        self, servers: Servers, ports: Callable[[str], Port], settings: dict[str, str], tmp_path: Path
    ) -> Iterator[Server]:
        name = f"upgraded-{tmp_path.name}"
        server = start_pyoci(servers, name, ports(name), **settings)
        yield server
        with suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)  # the new master is in its group

    def _new_master(self, server: Server, before: set[str]) -> int | None:
        """The child process that has children."""
        for child in workers(server) - before:
            with suppress(FileNotFoundError):
                if Path(f"/proc/{child}/task/{child}/children").read_text():
                    return int(child)
        return None

    def test_upgrade(self, server: Server, file: Path, second_file: Path) -> None:
        """The old one finishes its requests and exits with 0; the new one continues alone."""
        found: list[int] = []

        def upgrade() -> None:
            before = workers(server)
            server.process.send_signal(signal.SIGUSR2)
            until(lambda: self._new_master(server, before), "a new master", seconds=LIMIT)
            found.append(self._new_master(server, before) or 0)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(LIMIT) == 0

        Busy(server, file, second_file).while_(upgrade)
        assert is_well(server)
        os.kill(found[0], signal.SIGTERM)
        until(lambda: not Path(f"/proc/{found[0]}").exists(), "the new master to end", seconds=LIMIT)

    def test_going_back(self, server: Server, file: Path, second_file: Path) -> None:
        """If the new one is faulty, it can be stopped instead."""

        def try_and_go_back() -> None:
            before = workers(server)
            server.process.send_signal(signal.SIGUSR2)
            until(lambda: self._new_master(server, before), "a new master", seconds=LIMIT)
            os.kill(self._new_master(server, before) or 0, signal.SIGTERM)
            until(lambda: workers(server) == before, "the old workers alone", seconds=LIMIT)

        Busy(server, file, second_file).while_(try_and_go_back)
        assert server.process.poll() is None


class TestKeptPort:
    """systemd keeps the port (docs/examples/pyoci.socket) while the service is restarted."""

    # LISTEN_PID has to be that of gunicorn, which the shell becomes.
    SCRIPT = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<&"$0"'

    def _start(
        self, servers: Servers, name: str, listener: socket.socket, settings: dict[str, str]
    ) -> Server:
        log = servers.folder / f"{name}.log"
        port = listener.getsockname()[1]
        command = ["bash", "-c", self.SCRIPT, str(listener.fileno()), sys.executable]
        command += ["-m", "gunicorn", "-c", "python:pyoci.server", "pyoci.server:application()"]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                pass_fds=[listener.fileno()],
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], **settings},
                cwd=CHECKOUT,
            )
        server = Server(name, f"http://127.0.0.1:{port}", log, process)
        servers.running.append(server)
        return server

    def test_restart(
        self, servers: Servers, settings: dict[str, str], file: Path, second_file: Path, tmp_path: Path
    ) -> None:
        """Clients that connect meanwhile wait, and are served by the new one."""
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            name = f"kept-port-{tmp_path.name}"
            old = self._start(servers, name, listener, settings)
            assert is_well(old)

            def restart() -> None:
                old.process.send_signal(signal.SIGTERM)
                assert old.process.wait(LIMIT) == 0
                self._start(servers, f"{name}-again", listener, settings)

            Busy(old, file, second_file).while_(restart)
            assert is_well(old)
            servers.running[-1].end()


@pytest.mark.live("nginx")
class TestTwoInstances:
    """nginx with docs/examples/nginx.conf, in front of two servers that are replaced one by one."""

    @pytest.fixture
    def front(self, servers: Servers, ports: Callable[[str], Port], tmp_path: Path) -> Iterator[Server]:
        """Passes requests on to the ports of `first` and `second`, which may not run yet."""
        front, first, second = (f"{name}-{tmp_path.name}" for name in ("front", "first", "second"))
        server = start_nginx(servers, front, ports(front), tmp_path / "nginx", ports(first), ports(second))
        yield server
        server.end()

    @pytest.fixture
    def instances(
        self, servers: Servers, ports: Callable[[str], Port], settings: dict[str, str], tmp_path: Path
    ) -> Iterator[dict[str, Server]]:
        started = {
            name: start_pyoci(servers, name, ports(name), **settings)
            for name in (f"first-{tmp_path.name}", f"second-{tmp_path.name}")
        }
        yield started
        for server in started.values():
            server.end()

    def test_one_by_one(
        self,
        servers: Servers,
        ports: Callable[[str], Port],
        settings: dict[str, str],
        instances: dict[str, Server],
        front: Server,
        file: Path,
        second_file: Path,
    ) -> None:
        """Each is stopped and started again while the other one serves."""

        def replace_both() -> None:
            for name, server in instances.items():
                server.process.send_signal(signal.SIGTERM)
                assert server.process.wait(LIMIT) == 0
                instances[name] = start_pyoci(servers, name, ports(name), **settings)

        Busy(front, file, second_file).while_(replace_both)
