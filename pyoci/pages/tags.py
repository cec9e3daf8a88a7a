"""The kinds of files in words: a wheel's tags as "CPython 3.12, manylinux x86-64"."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PYTHONS = {
    "py": "Python",
    "cp": "CPython",
    "pp": "PyPy",
    "ip": "IronPython",
    "jy": "Jython",
    "gp": "GraalPy",
}
_PYTHON = re.compile(r"([a-z]{2})(\d)(\d*)")
_MACHINES = {
    "x86_64": "x86-64",
    "amd64": "x86-64",
    "i686": "x86",
    "i386": "x86",
    "intel": "x86",
    "win32": "x86",
    "aarch64": "ARM64",
    "arm64": "ARM64",
    "armv7l": "ARMv7",
    "armv6l": "ARMv6",
    "universal": "universal",
    "universal2": "ARM64 and x86-64",
    "wasm32": "WebAssembly",
}
_LINUX = re.compile(r"(manylinux|musllinux|linux)(?:\d{4}|1|_\d+_\d+)?_(.+)")
_MAC = re.compile(r"macosx_(\d+)_(\d+)_(.+)")
_OTHER = re.compile(r"(win|android_\d+|ios_\d+_\d+|emscripten_\d+_\d+_\d+|pyodide_\d+_\d+)_(.+)")
_SYSTEMS = {
    "win": "Windows",
    "android": "Android",
    "ios": "iOS",
    "emscripten": "Emscripten",
    "pyodide": "Pyodide",
}
_SHOWN = 6  # different words of one kind; a compressed tag may have more


def kind_of(filename: str) -> str:
    """What a file is for."""
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) < 5:
        return "source" if filename.endswith((".tar.gz", ".zip", ".tar.bz2", ".tgz")) else "other"
    pythons, abis, platforms = (part.split(".") for part in parts[-3:])
    versions = _joined(_python(python, abis) for python in pythons)
    systems = _joined(map(_platform, platforms))
    return f"{versions}, {systems}"


def _joined(words: Iterable[str]) -> str:
    """`A`, `A and B`, `A, B and C`, each once."""
    unique = list(dict.fromkeys(words))
    if len(unique) > _SHOWN:
        unique = [*unique[: _SHOWN - 1], "others"]
    return " and ".join(filter(None, (", ".join(unique[:-1]), unique[-1])))


def _python(tag: str, abis: list[str]) -> str:
    found = _PYTHON.fullmatch(tag)
    if found is None or found[1] not in _PYTHONS:
        return tag
    name = _PYTHONS[found[1]]
    version = f"{found[2]}.{found[3]}" if found[3] else found[2]
    if "abi3" in abis:
        return f"{name} {version} and newer"
    if any(re.fullmatch(r"cp\d+t", abi) for abi in abis):
        return f"free-threaded {name} {version}"
    return f"{name} {version}"


def _platform(tag: str) -> str:
    if tag == "any":
        return "any system"
    if found := _LINUX.fullmatch(tag):
        return f"{'Linux' if found[1] == 'linux' else found[1]} {_machine(found[2])}"
    if found := _MAC.fullmatch(tag):
        version = found[1] if found[2] == "0" else f"{found[1]}.{found[2]}"
        return f"macOS {version} {_machine(found[3])}"
    if tag == "win32":
        return "Windows x86"
    if found := _OTHER.fullmatch(tag):
        return f"{_SYSTEMS[found[1].partition('_')[0]]} {_machine(found[2])}"
    return tag


def _machine(text: str) -> str:
    return _MACHINES.get(text, text)
