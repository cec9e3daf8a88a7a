"""Packages that can be installed: wheels with a module that prints a text, and sdists that build without
PyPI.
"""

from __future__ import annotations

import random
import zipfile
from collections.abc import Iterable
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import canonicalize_name

from tests.builders import make_sdist, make_wheel

# An sdist names no build requirement: it brings its backend along, which packs the module and its METADATA.
_BACKEND = b"""\
import pathlib
import zipfile


def build_wheel(directory, config_settings=None, metadata_directory=None):
    metadata = pathlib.Path("PKG-INFO").read_text()
    fields = dict(line.split(": ", 1) for line in metadata.splitlines() if ": " in line)
    module = fields["Name"].lower().replace("-", "_").replace(".", "_")
    stem = f"{module}-{fields['Version']}"
    info = stem + ".dist-info"
    with zipfile.ZipFile(pathlib.Path(directory, stem + "-py3-none-any.whl"), "w") as archive:
        archive.writestr(module + ".py", pathlib.Path(module + ".py").read_bytes())
        archive.writestr(info + "/METADATA", metadata)
        archive.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "/RECORD", "")
    return stem + "-py3-none-any.whl"
"""
_PYPROJECT = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def wheel(
    folder: Path,
    name: str = "hello-world",
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    requires: Iterable[str] = (),
    text: str = "",
    ballast: int = 0,
) -> Path:
    """Write a wheel with a normalised name into `folder`; `ballast` bytes of it don't compress."""
    module = canonicalize_name(name).replace("-", "_")
    files = {f"{module}.py": f"TEXT = {text!r}\n".encode()}
    if ballast:
        files[f"{module}.bin"] = random.Random(ballast).randbytes(ballast)
    filename, content = make_wheel(
        name, version, tag, requires=requires, requires_python=">=3.8", files=files
    )
    rest = filename.split("-", 1)[1]
    return _written(folder / f"{module}-{rest}", content)


def large_wheel(folder: Path, mebibytes: int, *, tag: str = "py3-none-any") -> Path:
    """Write a wheel of so many MiB, which is never in memory."""
    path, chance = wheel(folder, tag=tag), random.Random(mebibytes)
    with zipfile.ZipFile(path, "a") as archive, archive.open("hello_world.bin", "w") as ballast:
        for _ in range(mebibytes):
            ballast.write(chance.randbytes(2**20))
    return path


def sdist(
    folder: Path,
    name: str = "hello-world",
    version: str = "1.0",
    *,
    text: str = "",
    ending: str = ".tar.gz",
) -> Path:
    """Write an sdist into `folder`."""
    module = canonicalize_name(name).replace("-", "_")
    files = {
        "pyproject.toml": _PYPROJECT,
        "backend.py": _BACKEND,
        f"{module}.py": f"TEXT = {text!r}\n".encode(),
    }
    filename, content = make_sdist(name, version, ending, files=files)
    return _written(folder / filename, content)


def this_platform() -> str:
    """The best wheel tag of this interpreter that isn't for any platform."""
    return str(next(sys_tags()))


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
