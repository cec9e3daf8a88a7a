"""The servers that are measured. They are stopped at the end of their scene."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.environments import CHECKOUT
from benchmarks.results import Missed
from pyoci.config import Settings
from tests.live.environments import Environments
from tests.live.programs import find
from tests.live.servers import Port, Server, Servers, htpasswd, start_docker_registry, start_pyoci

CORES = len(os.sched_getaffinity(0))
WORKERS = Settings.from_environ({}).workers  # as PyOCI chooses by itself; the others get as many
_MAX_BODY = "2000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running package index. `page` and `file` are path templates with `project` and `filename`."""

    label: str
    server: Server
    port: int
    upload: str
    page: str
    file: str
    headers: Mapping[str, str] = field(default_factory=dict)  # that an upload needs

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def page_of(self, project: str) -> str:
        return self.page.format(project=project)

    def file_of(self, project: str, filename: str) -> str:
        return self.file.format(project=project, filename=filename)


@dataclass(frozen=True, slots=True)
class TokenServer:
    """A running token server; `certificate` is that of its tokens."""

    url: str
    certificate: Path

    def auth(self, url: str | None = None) -> dict[str, object]:
        """The section of a docker-registry's configuration for its tokens, fetched at `url`."""
        facts = {"service": "bench", "issuer": "tests", "rootcertbundle": str(self.certificate)}
        return {"token": {"realm": f"{url or self.url}/token", **facts}}


class Stage:
    """Starts servers, each in its own folder below `folder`. A scene's servers end with it."""

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
        """Stop the servers that were started in the block, and remove their files, which may be large."""
        try:
            yield
        finally:
            self._clear()
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)

    def token_server(self, environments: Environments, seconds: int, **accounts: str) -> TokenServer:
        """A token server whose tokens are valid for a number of seconds. Raises NotInstalled."""
        name, port = self.name("tokens"), self.port()
        folder = self.new_folder(name)
        script = str(CHECKOUT / "tests" / "live" / "token_server.py")
        python = str(environments.python("token-server"))
        command = [python, script, str(port.number), str(folder), json.dumps(accounts), str(seconds)]
        self.start(f"{name}-server", command, port.url, "/token")
        return TokenServer(port.url, folder / "token.crt")

    def docker_registry(self, auth: Mapping[str, object] | None = None, /, **accounts: str) -> str:
        """The URL of a new registry. It needs a password if there are accounts, or what `auth` says."""
        if find("docker-registry") is None:
            raise Missed("docker-registry is not installed; Debian's package of that name brings it")
        name, port = self.name("docker-registry"), self.port()
        if accounts:
            path = htpasswd(self.folder / f"{name}.htpasswd", **accounts)
            auth = {"htpasswd": {"realm": "bench", "path": str(path)}}
        return start_docker_registry(self._servers, name, port, auth).url

    def pyoci(
        self, registry: str | None = None, *, label: str = "PyOCI", workers: int = WORKERS, **settings: str
    ) -> Site:
        """PyOCI in front of the registry at a URL, or with its embedded one; its cache is empty."""
        name, port = self.name("pyoci"), self.port()
        folder = self.new_folder(name)
        source = (
            {"PYOCI_EMBEDDED": str(folder / "packages")}
            if registry is None
            else {"PYOCI_REGISTRIES": f"it={registry}"}
        )
        environ = {
            "PYOCI_MAX_BODY": _MAX_BODY,
            "PYOCI_CACHE_URL": f"file://{folder}/cache",
            "TMPDIR": str(folder),
            "WEB_CONCURRENCY": str(workers),
            **source,
            **settings,
        }
        server = start_pyoci(self._servers, name, port, **environ)
        root = f"/{'local' if registry is None else 'it'}/bench/"
        return Site(
            label=label,
            server=server,
            port=port.number,
            upload=root,
            page=root + "{project}/",
            file=root + "{project}/{filename}",
        )

    def bare(self, application: str, **environ: str) -> Server:
        """An application of `benchmarks.bare` with gunicorn and PyOCI's configuration."""
        name, port = self.name("bare"), self.port()
        command = [sys.executable, "-m", "gunicorn", f"benchmarks.bare:{application}"]
        environ = {"PORT": str(port.number), "WEB_CONCURRENCY": str(WORKERS), **environ}
        return self.start(name, command, port.url, "/ready", environ, cwd=CHECKOUT)

    def start(
        self,
        name: str,
        command: list[str],
        url: str,
        ready: str,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Server:
        """Start any server with a small environment; it ends with the scene."""
        env = {"PATH": os.defpath, "HOME": str(self.folder), "TMPDIR": str(self.folder), **(environ or {})}
        return self._servers.start(name, command, url, ready, env, cwd)

    def run(self, command: list[str]) -> None:
        """Run a command that prepares something, and wait for it. Raises Missed if it fails."""
        env = {"PATH": os.defpath, "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False)
        if done.returncode != 0:
            raise Missed(f"{' '.join(command[:2])} failed: {(done.stderr or done.stdout)[-800:].strip()}")

    def end(self, server: Server) -> None:
        """Stop one server before the others."""
        server.end()
        server.wait()
        self._servers.running.remove(server)

    def name(self, kind: str) -> str:
        self._count += 1
        return f"{self._count}-{kind}"

    def new_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def port(self) -> Port:
        port = Port()
        self._ports.append(port)
        return port

    def _clear(self) -> None:
        self._servers.stop()
        while self._ports:
            self._ports.pop().close()
