"""Other package indexes, each installed from PyPI into its own environment: .venv/bench-<name>; and crane."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

from tests.live.environments import CHECKOUT, NotInstalled
from tests.live.programs import find

REQUIREMENTS = {
    # Its extra `cache` is watchdog, without which it walks its folder for every page.
    "pypiserver": ("pypiserver[cache] >=2.4, <3", "gunicorn >=25.1, <28"),
    "devpi-server": ("devpi-server >=6.14, <7",),
    "proxpi": ("proxpi >=1.2, <2", "gunicorn >=25.1, <28"),
}
__all__ = ["CHECKOUT", "NotInstalled", "crane", "program_of"]
_CRANE_VERSION = "v0.22.1"
_CRANE = "github.com/google/go-containerregistry/cmd/crane"
_LIMIT = 240  # seconds for one environment


def program_of(peer: str, program: str) -> str:
    """The path of a program in the environment of `peer`, which is created if it is missing."""
    root = CHECKOUT / ".venv" / f"bench-{peer}"
    complete = root / "complete"
    # An environment holds absolute paths: one that was moved is of no use.
    wanted = "\n".join((sys.version, str(root), *REQUIREMENTS[peer]))
    if not complete.is_file() or complete.read_text() != wanted:
        print(f"installing {peer} into {root} ...", file=sys.stderr, flush=True)
        _run(peer, "venv", "--clear", "--without-pip", str(root))
        install = ("install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS[peer])
        _run(peer, "pip", "--python", str(root / "bin" / "python"), *install)
        complete.write_text(wanted)
    return str(root / "bin" / program)


def crane() -> str | None:
    """The path of crane, built by Go if it isn't installed; None if it can't be built here."""
    root = CHECKOUT / ".venv" / "bench-crane"
    go, found = find("go"), find("crane") or find(str(root / "crane"))
    if found is not None or go is None:
        return found
    print(f"building crane into {root} ...", file=sys.stderr, flush=True)
    command = (go, "install", f"{_CRANE}@{_CRANE_VERSION}")
    environ = os.environ | {"GOBIN": str(root), "GOFLAGS": "-mod=mod", "GOWORK": "off"}
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, env=environ, capture_output=True, timeout=_LIMIT, check=False)
    return find(str(root / "crane"))


def _run(peer: str, module: str, *arguments: str) -> None:
    command = (sys.executable, "-m", module, *arguments)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{peer} can't be installed from PyPI within {_LIMIT} s") from None
    if done.returncode != 0:
        raise NotInstalled(
            f"{peer} can't be installed from PyPI: {(done.stderr or done.stdout)[-800:].strip()}"
        )
