"""PyOCI as a package: it builds without warnings, and can be installed by requirements.txt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.live.environments import CHECKOUT
from tests.live.servers import Port, Servers

pytestmark = [pytest.mark.live("pip"), pytest.mark.timeout(600)]  # they install from PyPI

_FILES = (
    "pyproject.toml",
    "setup.cfg",
    "MANIFEST.in",
    "README.rst",
    "LICENSE",
    "requirements.txt",
    "wsgi.py",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, because a build leaves files in it."""
    folder = tmp_path_factory.mktemp("packaging") / "checkout"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("pyoci", "tests"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignore)
    for name in (*_FILES, "gunicorn.conf.py"):
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return its output. Raises AssertionError with the output if it fails."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def new_environment(folder: Path, *requirements: str, cwd: Path) -> Path:
    """An environment with these requirements; returns its interpreter. Modules are compiled when they are
    imported: pip would compile all of them, and the environment's own pip, too.
    """
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=cwd)
    python = folder / "bin" / "python"
    how = ("--python", python, "install", "--quiet", "--no-compile")
    run(sys.executable, "-m", "pip", *how, *requirements, cwd=cwd)
    return python


def warnings_in(output: str) -> list[str]:
    return [line for line in output.splitlines() if "warn" in line.lower() or "deprecat" in line.lower()]


def test_pip_wheel(checkout: Path, tmp_path: Path) -> None:
    """`pip wheel .` prints no warning. The wheel has what the server needs, and no tests."""
    output = run(sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "-w", tmp_path, ".", cwd=checkout)
    assert warnings_in(output) == []
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "pyoci/py.typed" in names
    templates = {path.name for path in (CHECKOUT / "pyoci" / "pages" / "templates").iterdir()}
    assert {f"pyoci/pages/templates/{name}" for name in templates} <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"pyoci", "pyoci_server"}


def test_python_m_build(checkout: Path, tmp_path: Path) -> None:
    """`python -m build` warns of nothing, and builds its wheel from its source distribution."""
    python = new_environment(tmp_path / "venv", "build", "pip", cwd=tmp_path)
    assert warnings_in(run(python, "-m", "build", "--outdir", tmp_path, ".", cwd=checkout)) == []
    [sdist] = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "setup.cfg", "README.rst", "LICENSE", "pyoci"} <= top
    assert "tests" not in top
    assert list(tmp_path.glob("*.whl"))


def test_requirements_txt(
    checkout: Path, servers: Servers, ports: Callable[[str], Port], tmp_path: Path
) -> None:
    """An environment with requirements.txt can run `gunicorn wsgi:app` and `python -m pyoci`."""
    programs = new_environment(tmp_path / "venv", "-r", "requirements.txt", cwd=checkout).parent
    (tmp_path / "platform").mkdir()  # without the package beside wsgi.py: the installed one is served
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(checkout / name, tmp_path / "platform" / name)
    port = ports("requirements")
    environ = {"PATH": str(programs), "PORT": str(port.number), "PYOCI_EMBEDDED": str(tmp_path / "data")}
    command = ["gunicorn", "wsgi:app"]
    server = servers.start(
        "requirements", command, port.url, ready="/health", env=environ, cwd=tmp_path / "platform"
    )
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"{port.url}/local/main/", timeout=30).status_code == 200
    server.end()
    server.wait()
    assert run(programs / "python", "-m", "pyoci", "--version", cwd=tmp_path).startswith("pyoci ")
