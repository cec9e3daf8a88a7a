"""Distributions for tests: wheels that can be installed and sdists that can be built. Equal arguments give
equal bytes.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping

from packaging.utils import canonicalize_name
from packaging.version import Version

_DATE = (2026, 1, 1, 0, 0, 0)
_PYPROJECT = b'[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'


def make_metadata(
    name: str = "hello-world",
    version: str = "1.0",
    *,
    requires: Iterable[str] = (),
    requires_python: str | None = None,
    extra_headers: Iterable[tuple[str, str]] = (),
    body: str = "",
) -> bytes:
    """METADATA or PKG-INFO; `extra_headers` are pairs of header and value."""
    headers = [("Metadata-Version", "2.1"), ("Name", name), ("Version", version)]
    headers += [("Requires-Dist", requirement) for requirement in requires]
    if requires_python is not None:
        headers.append(("Requires-Python", requires_python))
    headers += extra_headers
    return ("".join(f"{header}: {value}\n" for header, value in headers) + f"\n{body}").encode()


def make_wheel(
    name: str = "hello-world",
    version: str = "1.0",
    tag: str = "py3-none-any",
    *,
    requires: Iterable[str] = (),
    requires_python: str | None = None,
    extra_headers: Iterable[tuple[str, str]] = (),
    files: Mapping[str, bytes] | None = None,
    build: str | None = None,
    body: str = "",
) -> tuple[str, bytes]:
    """The file name and content of a wheel with one module, or with `files` (path to content). The file name
    has name and version as given, with the escaping that the format requires.
    """
    spelled = f"{_escaped(name)}-{version}"
    info = f"{spelled}.dist-info"
    content = dict(_module(name, version) if files is None else files)
    content[f"{info}/METADATA"] = make_metadata(
        name,
        version,
        requires=requires,
        requires_python=requires_python,
        extra_headers=extra_headers,
        body=body,
    )
    content[f"{info}/WHEEL"] = _wheel_file(tag, build)
    content[f"{info}/RECORD"] = _record(content, f"{info}/RECORD")
    filename = "-".join(filter(None, (spelled, build, tag))) + ".whl"
    return filename, make_zip(content)


def make_sdist(
    name: str = "hello-world",
    version: str = "1.0",
    ending: str = ".tar.gz",
    *,
    requires: Iterable[str] = (),
    requires_python: str | None = None,
    extra_headers: Iterable[tuple[str, str]] = (),
    files: Mapping[str, bytes] | None = None,
) -> tuple[str, bytes]:
    """The file name and content of an sdist for setuptools, with `files` (path to content) in addition."""
    top = f"{canonicalize_name(name).replace('-', '_')}-{Version(version)}"  # PEP 625
    content = {
        "pyproject.toml": _PYPROJECT,
        "setup.py": _setup(name, version, tuple(requires), requires_python),
        **_module(name, version),
        **(files or {}),
        "PKG-INFO": make_metadata(
            name, version, requires=requires, requires_python=requires_python, extra_headers=extra_headers
        ),
    }
    placed = {f"{top}/{path}": data for path, data in content.items()}
    return f"{top}{ending}", make_zip(placed) if ending == ".zip" else make_tar(placed, ending)


def make_zip(files: Mapping[str, bytes]) -> bytes:
    """A deflated zip of `files`, path to content, in the order given."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            member = zipfile.ZipInfo(path, _DATE)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, data, zipfile.ZIP_DEFLATED, _level(data))
    return target.getvalue()


def _level(data: bytes) -> int | None:
    """zlib's level: 0 for megabytes that don't compress, on which zlib would spend most of a test's time. It
    stores them at every level.
    """
    if len(data) < 1_000_000:
        return None
    piece = data[:250_000]
    return 0 if len(zlib.compress(piece, 1)) >= len(piece) else None


def make_tar(files: Mapping[str, bytes], ending: str = ".tar.gz") -> bytes:
    """A compressed tar of `files`, path to content, in the order given."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    if ending == ".tar.bz2":
        return bz2.compress(target.getvalue())
    return gzip.compress(target.getvalue(), mtime=0)


def _escaped(name: str) -> str:
    return name.replace("-", "_")


def _module(name: str, version: str) -> dict[str, bytes]:
    """A module named like the project, with its version."""
    module = name.lower().replace("-", "_").replace(".", "_")
    return {f"{module}.py": f"__version__ = {version!r}\n".encode()}


def _setup(name: str, version: str, requires: tuple[str, ...], requires_python: str | None) -> bytes:
    module = next(iter(_module(name, version))).removesuffix(".py")
    arguments = {
        "name": name,
        "version": version,
        "py_modules": [module],
        "install_requires": list(requires),
        "python_requires": requires_python,
    }
    lines = "".join(f"    {key}={value!r},\n" for key, value in arguments.items() if value is not None)
    return f"from setuptools import setup\n\nsetup(\n{lines})\n".encode()


def _wheel_file(tag: str, build: str | None) -> bytes:
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    tags = [f"Tag: {p}-{a}-{m}\n" for p in pythons for a in abis for m in platforms]
    pure = str(abis == ["none"] and platforms == ["any"]).lower()
    number = f"Build: {build}\n" if build else ""
    return f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\n{number}{''.join(tags)}".encode()


def _record(files: Mapping[str, bytes], own: str) -> bytes:
    """RECORD (binary distribution format): path, hash and size of each file, and a line for itself."""

    def line(path: str, data: bytes) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        return f"{path},sha256={digest},{len(data)}\n"

    return ("".join(line(path, data) for path, data in files.items()) + f"{own},,\n").encode()
