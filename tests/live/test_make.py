"""`make` in a new checkout: without python3-venv, in a path with spaces, and after a move."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.environments import CHECKOUT

# It installs from PyPI. Each environment takes seconds, and minutes on a busy machine.
pytestmark = [pytest.mark.live("pip"), pytest.mark.timeout(900)]

# Everything that an installation depends on, but no dependency: it takes a second, not a minute.
_SETUP = """\
[metadata]
name = pyoci-server
version = 1
[options]
packages = pyoci
[options.extras_require]
dev =
"""
_MODULE = "import pathlib, sys; print(pathlib.Path(__file__).parent.parent, *sys.argv[1:])\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Our Makefile with a package that prints the path from which it was imported."""
    folder = tmp_path / "a checkout with spaces"
    (folder / ".ci").mkdir(parents=True)
    (folder / "pyoci").mkdir()
    for name in ("Makefile", "pyproject.toml", ".ci/environment.py"):
        shutil.copy(CHECKOUT / name, folder / name)
    (folder / "setup.cfg").write_text(_SETUP)
    (folder / "pyoci" / "__init__.py").touch()
    (folder / "pyoci" / "__main__.py").write_text(_MODULE)
    return folder


def make(
    checkout: Path, target: str, python: Path = Path(sys.executable), **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target, f"PYTHON={python}"],
        cwd=checkout,
        # `make test` hands these on; with MAKELEVEL make prints which directory it enters.
        env={name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
        | environ,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def imported_from(checkout: Path) -> Path:
    """The folder from which the environment imports PyOCI."""
    command: list[str | Path] = [checkout / ".venv" / "bin" / "python", "-m", "pyoci"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, check=True)
    return Path(done.stdout.strip())


def without_venv(folder: Path) -> Path:
    """A Python without python3-venv, like Debian's."""
    blocked = folder / "blocked"
    blocked.mkdir()
    (blocked / "ensurepip.py").write_text("raise ImportError('ensurepip')\n")
    python = folder / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{blocked}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


def test_serve_in_a_path_with_spaces(checkout: Path) -> None:
    """The second time nothing is installed, and nothing compiled, whatever the caller's environment says."""
    first, second = (make(checkout, "serve", PYTHONDONTWRITEBYTECODE="1") for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.splitlines()[-1] == f"{checkout} serve"
    assert list((checkout / "pyoci" / "__pycache__").iterdir())
    assert imported_from(checkout) == checkout


def test_a_missing_debian_package_is_named(checkout: Path, tmp_path: Path) -> None:
    """In one sentence. After it is installed, make succeeds."""
    done = make(checkout, "serve", without_venv(tmp_path))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert "apt-get install python3-venv" in said[0]
    assert not (checkout / ".venv").exists()
    assert make(checkout, "serve").returncode == 0


def test_an_incomplete_environment_is_created_again(checkout: Path) -> None:
    """Such as after an interrupted `python3 -m venv`, or without python3-venv."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True, timeout=60
    )
    done = make(checkout, "serve")
    assert done.returncode == 0, done.stderr
    assert imported_from(checkout) == checkout


def test_an_environment_whose_python_is_gone_is_created_again(checkout: Path) -> None:
    """An upgrade of the system changes the path of its Python."""
    make(checkout, "environment")
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/usr/bin/python3.0")
    assert make(checkout, "serve").returncode == 0


def test_a_moved_checkout(checkout: Path) -> None:
    """The environment works at the new place."""
    make(checkout, "environment-dev")
    moved = checkout.rename(checkout.parent / "moved")
    done = make(moved, "serve")
    assert done.stdout.splitlines()[-1] == f"{moved} serve", done.stderr
    assert imported_from(moved) == moved


def test_a_broken_installation_shows_why(checkout: Path) -> None:
    """pip's own lines, then ours. The next make tries again."""
    (checkout / "setup.cfg").write_text(_SETUP.replace("version = 1", "version = attr: pyoci.nothing"))
    done = make(checkout, "serve")
    assert done.returncode != 0
    assert "PyOCI can't be installed into .venv; the lines above say why." in done.stderr
    (checkout / "setup.cfg").write_text(_SETUP)
    assert make(checkout, "serve").returncode == 0


def test_help(checkout: Path) -> None:
    """Each target for users has a line."""
    lines = make(checkout, "help").stdout.splitlines()
    assert [line.split()[1] for line in lines] == [
        "serve",
        "test",
        "torture",
        "bench",
        "lint",
        "docs",
        "clean",
        "help",
    ]
    assert all(len(line.split()) > 3 for line in lines)
