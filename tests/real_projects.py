"""Twenty real projects: their files from PyPI go through PyOCI into a registry, and come back the same.

    .venv/bin/python -m tests.real_projects [--index-url URL] [PROJECT ...]

Downloads one file of each project with pip, publishes them with twine, installs all of them from PyOCI alone,
with pip and with uv, and compares `pip freeze` and the files' hashes with those of an installation from the
downloaded files. Without URL it starts PyOCI over an embedded registry in a temporary folder; a URL may carry
credentials. Everything happens in temporary folders and in .venv/clients. Ends with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.utils import parse_sdist_filename, parse_wheel_filename

from tests.live.clients import Clients
from tests.live.environments import Environments
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, twine
from tests.live.servers import Port, Servers, start_pyoci

PROJECTS = (
    "attrs",  # pure Python
    "charset-normalizer",
    "cryptography",  # one wheel for many Pythons (abi3), from Rust
    "docopt",  # nothing but an sdist, without pyproject.toml
    "greenlet",
    "grpcio",
    "Jinja2",  # a capital
    "lxml",
    "MarkupSafe",
    "numpy",  # many megabytes
    "pillow",
    "protobuf",
    "psutil",
    "pydantic-core",
    "PyYAML",
    "ruamel.yaml",  # a dot
    "ruff",  # a program, for any Python
    "setuptools",  # builds docopt, with nothing from PyPI
    "SQLAlchemy",
    "zope.interface",  # a dot and a namespace package
)


@dataclass(frozen=True, slots=True)
class RealFile:
    """A file as PyPI gave it."""

    path: Path

    @property
    def project(self) -> str:
        return self._parsed[0]

    @property
    def pin(self) -> str:
        return f"{self._parsed[0]}=={self._parsed[1]}"

    @property
    def sha256(self) -> str:
        with self.path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    @property
    def _parsed(self) -> tuple[str, str]:
        parse = parse_wheel_filename if self.path.suffix == ".whl" else parse_sdist_filename
        name, version, *_ = parse(self.path.name)
        return str(name), str(version)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one project."""

    file: RealFile
    size: int
    same_file: bool
    same_with_pip: bool
    same_with_uv: bool

    @property
    def good(self) -> bool:
        return self.same_file and self.same_with_pip and self.same_with_uv

    def __str__(self) -> str:
        marks = ("yes" if each else "NO" for each in (self.same_file, self.same_with_pip, self.same_with_uv))
        return f"{self.file.pin:<30} {self.size / 1e6:>8.2f}  " + "  ".join(f"{mark:>4}" for mark in marks)


HEADING = f"{'project':<30} {'MB':>8}  {'file':>4}  {'pip':>4}  {'uv':>4}"


def download(clients: Clients, folder: Path, projects: Sequence[str] = PROJECTS) -> tuple[RealFile, ...]:
    """Fetch the newest file of each project that this Python can install."""
    clients.from_pypi("pip", "download", "--quiet", "--no-deps", "--dest", folder, *projects)
    return tuple(RealFile(path) for path in sorted(folder.iterdir()))


def round_trip(clients: Clients, index: PackageIndex, files: Sequence[RealFile]) -> tuple[Row, ...]:
    """Publish `files`, install and download them again, and compare."""
    published(twine(clients, index, [file.path for file in files]))
    pins = [file.pin for file in files]
    url = ("--index-url", index.url_with_credentials)
    local = ("--no-index", "--find-links", files[0].path.parent)

    expected = _uv_installed(clients, "expected", local, pins)
    with_pip = _pip_installed(clients, "with-pip", url, pins)
    with_uv = _uv_installed(clients, "with-uv", url, pins)
    return tuple(
        Row(
            file=file,
            size=file.path.stat().st_size,
            same_file=_downloaded_sha256(index, file) == file.sha256,
            same_with_pip=_line(with_pip, file) == _line(expected, file) is not None,
            same_with_uv=_line(with_uv, file) == _line(expected, file) is not None,
        )
        for file in files
    )


def _pip_installed(clients: Clients, name: str, source: Iterable[object], pins: Sequence[str]) -> list[str]:
    python = clients.new_environment(name)
    clients.run(
        "pip", "--python", python, "install", "--no-deps", "--no-compile", "--no-cache-dir", *source, *pins
    )
    return clients.freeze(python)


def _uv_installed(clients: Clients, name: str, source: Iterable[object], pins: Sequence[str]) -> list[str]:
    python = clients.new_environment(name)
    clients.run("uv", "pip", "install", "--python", python, "--no-deps", *source, *pins)
    return clients.freeze(python)


def _line(frozen: Iterable[str], file: RealFile) -> str | None:
    """What `pip freeze` says of the project of `file`."""
    names = {line.partition("==")[0].lower().replace("_", "-").replace(".", "-"): line for line in frozen}
    return names.get(file.project)


def _downloaded_sha256(index: PackageIndex, file: RealFile) -> str:
    answer = index.get(f"{file.project}/{file.path.name}")
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.content).hexdigest()


def _index_of(url: str | None, servers: Servers) -> PackageIndex:
    """The index at `url`, or one that is started for the occasion."""
    if url is None:
        server = start_pyoci(servers, "pyoci", Port(), PYOCI_EMBEDDED=str(servers.folder / "embedded"))
        return PackageIndex.new(server, "local", server.url.removeprefix("http://"))
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/") + "/").geturl()
    index = PackageIndex(url=bare, registry="")
    return (
        index.signed_in(unquote(parts.username), unquote(parts.password or "")) if parts.username else index
    )


def main() -> int:
    """Run it all and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--index-url", metavar="URL", help="a namespace that PyOCI serves, such as .../local/acme/"
    )
    parser.add_argument("projects", metavar="PROJECT", nargs="*", default=PROJECTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pyoci-") as folder:
        for name in ("home", "files", "servers"):
            (Path(folder) / name).mkdir()
        clients = Clients(Environments(), Path(folder) / "home")
        servers = Servers(Path(folder) / "servers")
        try:
            index = _index_of(arguments.index_url, servers)
            rows = round_trip(clients, index, download(clients, Path(folder) / "files", arguments.projects))
        finally:
            servers.stop()
    print(HEADING, *rows, sep="\n")
    good = sum(row.good for row in rows)
    print(f"{good} of {len(rows)} came back as they were")
    return int(good < len(rows))


if __name__ == "__main__":
    sys.exit(main())
