"""Virtual environments with the real clients, made once and kept in .venv/clients of the checkout.

An environment is known by the text of its requirements and by the Python that made it: change either and a
new one is made, and the old one removed. Nothing is installed anywhere else.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements"
# poetry and hatch each bring dependencies that the other, or twine, may not like.
CLIENTS = {
    "pip": "tools",
    "uv": "tools",
    "twine": "tools",
    "poetry": "poetry",
    "hatch": "hatch",
    "token-server": "token-server",
    "atheris": "atheris",
}
_TIME_LIMIT = 240  # seconds for one environment; below pytest's limit for a test, which would say less


class NotInstalled(Exception):
    """An environment can't be made: most likely PyPI isn't reachable."""


@dataclass(slots=True)
class Environments:
    """The environments of this checkout, made when they are first asked for."""

    root: Path = CHECKOUT / ".venv" / "clients"
    _known: dict[str, Path | NotInstalled] = field(default_factory=dict)

    def of(self, client: str) -> Path:
        """The environment that holds `client`. Raises NotInstalled, at once when it was raised before."""
        name = CLIENTS[client]
        if name not in self._known:
            try:
                with self._lock():
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
        return self.of(client) / "bin" / client

    def python(self, client: str) -> Path:
        """The interpreter beside `client`."""
        return self.of(client) / "bin" / "python"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Two runs of the suite may start at the same time."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _made(self, name: str) -> Path:
        requirements = REQUIREMENTS / f"{name}.txt"
        # An environment holds absolute paths: one that was moved is of no use.
        facts = (sys.version, str(self.root), requirements.read_text())
        key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
        target = self.root / f"{name}-{key}"
        if not (target / "complete").exists():
            for old in self.root.glob(f"{name}-[0-9a-f]*"):
                shutil.rmtree(old)
            _run("venv", "--without-pip", str(target))
            # PIP_* of the machine stay in force here: they may be the only way to PyPI.
            install = ("install", "--quiet", "--no-compile", "-r", str(requirements))
            _run("pip", "--python", str(target / "bin" / "python"), *install)
            (target / "complete").touch()
        return target


def _run(module: str, *arguments: str) -> None:
    command = (sys.executable, "-m", module, *arguments)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"the clients can't be installed from PyPI within {_TIME_LIMIT} s") from None
    if done.returncode != 0:
        raise NotInstalled(
            f"the clients can't be installed from PyPI: {(done.stderr or done.stdout)[-800:].strip()}"
        )
