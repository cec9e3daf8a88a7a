"""A Dockerfile's own steps without a Docker engine: each stage is a directory tree that a command sees as its
root, in a mount namespace of its own, with this machine's Python in the place of the image's.

Two things are not the image's: /usr, which is this machine's, read-only, but for /usr/local; and the network.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pip

from tests.dockerfile import Instruction, read_dockerfile

_FOLDERS = ("dev", "etc", "home", "opt", "proc", "root", "run", "sys", "tmp", "usr", "var")
_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "pip.conf", "ld.so.conf", "ld.so.conf.d", "ssl")
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
_STEP_LIMIT = 600  # seconds


def is_possible() -> bool:
    """Whether this machine allows mounts."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    command = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass(slots=True)
class Image:
    """A stage after its steps, or during them. `root` is the directory that it sees as /, `local` its
    /usr/local.
    """

    root: Path
    local: Path
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    folder: str = "/"
    user: str = "0:0"

    def command(
        self,
        command: Sequence[str],
        environ: Mapping[str, str] | None = None,
        *,
        read_only: bool = False,
        volumes: Mapping[Path, str] | None = None,
    ) -> list[str]:
        """The command line that runs `command` in the image. With `read_only` it can write only to /tmp and
        `volumes`.
        """
        variables = [f"{name}={value}" for name, value in (self.environ | dict(environ or {})).items()]
        inner = ["chroot", f"--userspec={self.user}", "--groups=", str(self.root), "env", "-i", *variables]
        inner += ["sh", "-c", 'cd "$0" && exec "$@"', self.folder, *command]
        script = "\n".join((*self._mounts(read_only, volumes or {}), f"exec {shlex.join(inner)}"))
        return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script]

    def run(self, command: Sequence[str], environ: Mapping[str, str] | None = None, **how: Any) -> str:
        """Run a command and return its output. Raises AssertionError with the output if it fails."""
        line = self.command(command, environ, **how)
        done = subprocess.run(line, capture_output=True, text=True, timeout=_STEP_LIMIT, check=False)
        assert done.returncode == 0, f"{shlex.join(command)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def path(self, inside: str) -> Path:
        """The path on this machine of a path in the image."""
        if inside.startswith("/usr/local"):
            return self.local / inside.removeprefix("/usr/local").lstrip("/")
        return self.root / inside.lstrip("/")

    def _mounts(self, read_only: bool, volumes: Mapping[Path, str]) -> list[str]:
        root = shlex.quote(str(self.root))
        lines = [
            f"mount --bind {root} {root}",
            f"mount --bind /usr {root}/usr",
            f"mount -o remount,bind,ro {root}/usr",
            f"mount --bind {shlex.quote(str(self.local))} {root}/usr/local",
            f"mount --rbind /dev {root}/dev",
            f"mount --rbind /proc {root}/proc",
        ]
        if read_only:
            lines += [f"mount -o remount,bind,ro {place}" for place in (f"{root}/usr/local", root)]
            lines.append(f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp")
        lines += [f"mount --bind {shlex.quote(str(ours))} {root}{inside}" for ours, inside in volumes.items()]
        return lines


def build(checkout: Path, folder: Path) -> Image:
    """The Dockerfile's last stage, after every step of all of them."""
    context = _context(checkout, folder / "context")
    built: dict[str, Image] = {}
    for number, stage in enumerate(read_dockerfile(checkout / "Dockerfile")):
        image = _slim_python(folder / str(number))
        for instruction in stage.instructions:
            _take(image, instruction, context, built)
        built[stage.name] = image
    return image


def _take(image: Image, instruction: Instruction, context: Path, built: Mapping[str, Image]) -> None:
    match instruction.name:
        case "RUN":
            image.run(["sh", "-c", instruction.text], _outward())
        case "ENV":
            image.environ |= instruction.variables
        case "USER":
            image.user = instruction.text
        case "WORKDIR":
            image.folder = instruction.text
            image.path(instruction.text).mkdir(parents=True, exist_ok=True)
        case "COPY":
            _copy(image, instruction, context, built)


def _copy(image: Image, instruction: Instruction, context: Path, built: Mapping[str, Image]) -> None:
    *sources, target = instruction.words
    if sources[0].startswith("--from="):
        [source] = sources[1:]
        other = built[sources[0].removeprefix("--from=")]
        shutil.copytree(other.path(source), image.path(target), symlinks=True)
        return
    folder = image.path(os.path.join(image.folder, target))  # joins an absolute one, too
    for source in sources:
        if (context / source).is_dir():
            shutil.copytree(context / source, folder, dirs_exist_ok=True)
        else:
            shutil.copy(context / source, folder)


def _context(checkout: Path, folder: Path) -> Path:
    """The files that .dockerignore lets through."""
    folder.mkdir(parents=True)
    for line in (checkout / ".dockerignore").read_text().splitlines():
        source = checkout / line.removeprefix("!")
        if line.startswith("!") and source.is_dir():
            shutil.copytree(
                source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", "*.py[co]")
            )
        elif line.startswith("!"):
            shutil.copy(source, folder)
    return folder


def _slim_python(folder: Path) -> Image:
    """Python and pip in /usr/local, like in python:…-slim."""
    image = Image(folder / "root", folder / "local")
    for name in _FOLDERS:
        (image.root / name).mkdir(parents=True)
    (image.root / "tmp").chmod(0o1777)
    for name in ("bin", "lib", "lib64", "sbin"):
        (image.root / name).symlink_to(f"usr/{name}")
    for name in _NETWORK:
        source, target = Path("/etc", name), image.root / "etc" / name
        if source.is_dir():
            shutil.copytree(source, target, symlinks=False, ignore_dangling_symlinks=True)
        elif source.exists():
            shutil.copy(source, target)
    (image.root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    _copy_python(image.local)
    image.run(["ldconfig"])
    return image


def _copy_python(local: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (local / "bin").mkdir(parents=True)
    library = local / "lib" / version
    base = Path(sys.base_prefix)
    shutil.copy(Path(sys.executable).resolve(), local / "bin" / version)
    for name in ("python3", "python"):
        (local / "bin" / name).symlink_to(version)
    unwanted = shutil.ignore_patterns("site-packages", "dist-packages", "test", "__pycache__")
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=unwanted)
    for shared in (base / "lib").glob("libpython3*.so*"):
        shutil.copy(shared, local / "lib", follow_symlinks=False)
    packages = Path(pip.__file__).parent.parent
    for source in (packages / "pip", *packages.glob("pip-*.dist-info")):
        shutil.copytree(source, library / "site-packages" / source.name)


def _outward() -> dict[str, str]:
    """The files and settings with which a step reaches PyPI from this machine."""
    ways = ("_proxy", "pip_cert", "pip_index_url", "pip_default_timeout")
    return {name: value for name, value in os.environ.items() if name.lower().endswith(ways)}
