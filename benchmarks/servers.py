"""The servers that are measured. They end with the scene that they were started in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.peers import gunicorn_of
from tests.live.programs import find
from tests.live.servers import Port, Server, Servers, start_docker_registry, start_pyoci

PYOCI = "PyOCI"
PYOCI_ON_DOCKER = "PyOCI + docker-registry"
PYPISERVER = "pypiserver"
CORES = len(os.sched_getaffinity(0))
WORKERS = min(max(CORES, 2), 8)  # as PyOCI chooses by itself
THREADS = 16
_MAX_BODY = "2000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A package index that runs. `page` and `file` are paths with gaps for `project` and `filename`."""

    label: str
    server: Server
    port: int
    upload: str
    page: str
    file: str

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def page_of(self, project: str) -> str:
        return self.page.format(project=project)

    def file_of(self, project: str, filename: str) -> str:
        return self.file.format(project=project, filename=filename)


class Stage:
    """Starts servers, each in a folder of its own below `folder`. A scene's servers end with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers = Servers(folder)
        self._ports: list[Port] = []
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    @contextmanager
    def scene(self) -> Iterator[None]:
        """End what was started in here, and remove what it wrote: 200 MB files add up."""
        try:
            yield
        finally:
            self._clear()
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)

    def everybody(self, workers: int = WORKERS) -> list[Site]:
        """PyOCI, PyOCI before Debian's docker-registry where that is installed, and pypiserver."""
        found = [self.pyoci(workers=workers)]
        if find("docker-registry") is not None:
            registry = self.docker_registry()
            found.append(self.pyoci(label=PYOCI_ON_DOCKER, registry=registry, workers=workers))
        return [*found, self.pypiserver(workers=workers)]

    def registry(self) -> str:
        """The URL of a registry that is asked over HTTP, one that others wrote where there is one."""
        return self.docker_registry() if find("docker-registry") else self.pyoci().server.url

    def docker_registry(self) -> str:
        port = self._port()
        return start_docker_registry(self._servers, self._name("docker-registry"), port).url

    def pyoci(self, *, label: str = PYOCI, registry: str | None = None, workers: int = WORKERS) -> Site:
        """PyOCI over its embedded registry, or over the one at the URL `registry`."""
        name, port = self._name("pyoci"), self._port()
        folder = self._folder(name)
        source = (
            {"PYOCI_EMBEDDED": str(folder)} if registry is None else {"PYOCI_REGISTRIES": f"it={registry}"}
        )
        settings = {"PYOCI_MAX_BODY": _MAX_BODY, "TMPDIR": str(folder), **_concurrency(workers)}
        server = start_pyoci(self._servers, name, port, **settings, **source)
        root = f"/{'local' if registry is None else 'it'}/bench/"
        return Site(
            label=label,
            server=server,
            port=port.number,
            upload=root,
            page=root + "{project}/",
            file=root + "{project}/{filename}",
        )

    def pypiserver(self, *, workers: int = WORKERS) -> Site:
        """pypiserver under gunicorn too, with as many workers and threads; its own default is one thread."""
        name, port = self._name("pypiserver"), self._port()
        folder = self._folder(name)
        spool = self._folder(f"{name}-spool")
        options = f"root={str(folder)!r}, authenticate=[], password_file='.', disable_fallback=True"
        command = [str(gunicorn_of("pypiserver")), "--bind", f"127.0.0.1:{port.number}"]
        command += ["--workers", str(workers), "--threads", str(THREADS), "--keep-alive", "75"]
        command += ["--worker-class", "gthread", "--worker-tmp-dir", "/dev/shm", "--no-control-socket"]
        env = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(spool)}
        server = self._servers.start(
            name, [*command, f"pypiserver:app({options})"], port.url, ready="/health", env=env
        )
        return Site(
            label=PYPISERVER,
            server=server,
            port=port.number,
            upload="/",
            page="/simple/{project}/",
            file="/packages/{filename}",
        )

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self._count}-{kind}"

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _port(self) -> Port:
        port = Port()
        self._ports.append(port)
        return port

    def _clear(self) -> None:
        self._servers.stop()
        while self._ports:
            self._ports.pop().close()


def _concurrency(workers: int) -> dict[str, str]:
    return {"WEB_CONCURRENCY": str(workers), "PYOCI_THREADS": str(THREADS)}
