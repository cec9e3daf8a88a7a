"""Environments with the real clients, made once and kept in .venv/clients of the checkout.

An environment is known by the text of its requirements and by the Python that made it: change either and a
new one is made, and the old one removed. Nothing is installed anywhere else. Requirements that end in .txt
make a virtual environment from PyPI, those that end in .npm a folder of the same shape from npm. A .txt file
has one requirement a line and nothing else. Older releases of clients are listed in releases.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.live.pypi import where_pypi_is
from tests.live.releases import RELEASES, Release, install

CHECKOUT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements"
# poetry, hatch and pdm each bring dependencies that the others, or twine, may not like.
CLIENTS = {
    "pip": "tools",
    "uv": "tools",
    "twine": "tools",
    "flit": "tools",
    "pip-compile": "tools",
    "pip-audit": "audit",
    "poetry": "poetry",
    "hatch": "hatch",
    "pdm": "pdm",
    "token-server": "token-server",
    "devpi-server": "indexes",
    "pypi-server": "indexes",
    "atheris": "atheris",
    "renovate": "renovate",
    "axe-core": "axe",
}
_NODE_NAMES = {"x86_64": "x64", "aarch64": "arm64"}  # what npm's packages of Node call a processor
_TIME_LIMIT = 240  # seconds for one environment; below pytest's limit for a test, which would say less


class NotInstalled(Exception):
    """An environment can't be made: most likely its source, PyPI or npm, isn't reachable."""

    def __init__(self, message: str, source: str = "PyPI") -> None:
        super().__init__(message)
        self.source = source


@dataclass(slots=True)
class Environments:
    """The environments of this checkout, made when they are first needed."""

    root: Path = CHECKOUT / ".venv" / "clients"
    _known: dict[str, Path | NotInstalled] = field(default_factory=dict)

    def of(self, client: str) -> Path:
        """The environment with `client`. Raises NotInstalled, at once if it was raised before."""
        name = CLIENTS.get(client, client)
        if name not in self._known:
            try:
                with self._lock(name):
                    self._known[name] = self._made(name)
            except NotInstalled as error:
                self._known[name] = error
            except OSError as error:
                self._known[name] = NotInstalled(f"the clients can't be installed into {self.root}: {error}")
        found = self._known[name]
        if isinstance(found, NotInstalled):
            raise found
        return found

    def program(self, client: str) -> Path:
        """The path of the command `client`."""
        return self.of(client) / "bin" / client.partition("==")[0]

    def python(self, client: str) -> Path:
        """The interpreter beside `client`."""
        return self.of(client) / "bin" / "python"

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Two runs of the suite may start at the same time. Environments don't wait for each other."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"lock-{name}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _made(self, name: str) -> Path:
        source = RELEASES.get(name) or next(REQUIREMENTS.glob(f"{name}.*"))
        # An environment holds absolute paths: one that was moved is of no use.
        facts = (sys.version, str(self.root), source.read_text() if isinstance(source, Path) else str(source))
        key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
        target = self.root / f"{name}-{key}"
        if not (target / "complete").exists():
            for old in self.root.glob(f"{name}-[0-9a-f]*"):
                shutil.rmtree(old)
            if isinstance(source, Release):
                self._install(source, target)
            elif source.suffix == ".npm":
                _from_npm(target, source)
            elif name == CLIENTS["uv"]:
                _from_pypi(target, source)
            else:
                self._install(Release(tuple(source.read_text().splitlines())), target)
            (target / "complete").touch()
        return target

    def _install(self, release: Release, target: Path) -> None:
        index, certificates = where_pypi_is(self.python("pip"))
        run = partial(_run, "PyPI", environ=os.environ | certificates)
        install(release, target, self.program("uv"), index, run)


def _from_pypi(target: Path, requirements: Path) -> None:
    """By pip, for the environment with uv. uv makes all others, in a fifth of the time."""
    _run("PyPI", sys.executable, "-m", "venv", "--without-pip", str(target))
    # PIP_* of the machine stay in force here: they may be the only way to PyPI.
    into = ("--python", str(target / "bin" / "python"))
    install = ("install", "--quiet", "--no-compile", "-r", str(requirements))
    _run("PyPI", sys.executable, "-m", "pip", *into, *install)


def _from_npm(target: Path, requirements: Path) -> None:
    """No script of a package runs, so nothing is fetched from elsewhere: Node too is a package."""
    cpu = _NODE_NAMES.get(platform.machine(), platform.machine())
    packages = requirements.read_text().format(cpu=cpu).split()
    how = ("--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--no-update-notifier")
    _run("npm", "npm", "install", "--global", "--prefix", str(target), *how, *packages)


def _run(source: str, *command: str | Path, environ: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIME_LIMIT, check=False, env=environ
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(
            f"the clients can't be installed from {source} within {_TIME_LIMIT} s", source
        ) from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout)[-800:].strip()
        raise NotInstalled(f"the clients can't be installed from {source}: {said}", source)
