"""Files to publish: many small ones, or a large one that can't be compressed."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tests.builders import make_metadata, make_sdist, make_wheel
from tests.live.packages import wheel

MB = 1_000_000
_PIECE = os.urandom(MB)
_DATE = (2026, 1, 1, 0, 0, 0)
_WHEEL = b"Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to publish; `source` is its path, or its bytes."""

    project: str
    version: str
    name: str
    sha256: str
    size: int
    filetype: str = "bdist_wheel"
    source: Path | bytes = field(repr=False)

    def opened(self) -> BinaryIO:
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    @property
    def path(self) -> Path:
        """The path of a large one."""
        assert isinstance(self.source, Path), f"{self.name} lies nowhere"
        return self.source


def small_files(project: str, version: str) -> Iterator[File]:
    """A wheel and an sdist of one version."""
    made = {
        "bdist_wheel": make_wheel(project, version, requires_python=">=3.9"),
        "sdist": make_sdist(project, version, requires_python=">=3.9"),
    }
    for filetype, (name, content) in made.items():
        yield File(
            project=project,
            version=version,
            name=name,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            filetype=filetype,
            source=content,
        )


def large_wheel(folder: Path, project: str, version: str, size: int) -> File:
    """A wheel of a little more than `size` bytes, written to `folder`. No two versions share a digest."""
    name = f"{project}-{version}-py3-none-any.whl"
    info = f"{project}-{version}.dist-info"
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        # First, so that not a byte of two versions' digests is computed alike.
        archive.writestr(zipfile.ZipInfo(f"{info}/METADATA", _DATE), make_metadata(project, version))
        with archive.open(zipfile.ZipInfo(f"{project}/data.bin", _DATE), "w", force_zip64=True) as member:
            for _ in range(size // MB):
                member.write(_PIECE)
        archive.writestr(zipfile.ZipInfo(f"{info}/WHEEL", _DATE), _WHEEL)
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", _DATE), b"")
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return File(
        project=project, version=version, name=name, sha256=sha256, size=path.stat().st_size, source=path
    )


def wheel_of(
    folder: Path, project: str, version: str, *, requires: Iterable[str] = (), ballast: int = 0
) -> File:
    """A wheel that can be installed, written to `folder`; `ballast` bytes of it don't compress."""
    path = wheel(folder, project, version, requires=requires, ballast=ballast)
    content = path.read_bytes()
    return File(
        project=project,
        version=version,
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        source=path,
    )
