"""A reader who follows a page of the documentation: writes the files that it shows, and runs its commands. On
the page, PyOCI is `https://pyoci.example.com/`, its package index is `ghcr.io/acme/`, and USER and TOKEN are
the credentials; they are replaced by real ones. The reader works in the folder of a project, hello-world 2.0,
whose files are in `dist` and in `packages`. The package index and `old.example.com` have hello-world 1.0 and
greeting 1.0.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.docs.blocks import Block
from tests.live import packages
from tests.live.clients import Clients
from tests.live.environments import CLIENTS
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv

_TIME_LIMIT = 120  # seconds for one block
_PYPROJECT = """\
[project]
name = "hello-world"
version = "2.0"
description = "Greets."
requires-python = ">=3.11,<4"
"""
# What a person types, on the way to the environment that the test made.
_WRAPPER = """\
#!/bin/sh
exec {command} "$@"
"""


@dataclass(frozen=True, slots=True)
class Reader:
    """`folder` is the project's, in which everything runs. Packages are installed in its `.venv`."""

    clients: Clients
    index: PackageIndex
    folder: Path
    embedded: Path  # the directory of the registry that PyOCI has

    def prepare(self, programs: Iterable[str]) -> None:
        """Create the project and make `programs` available in its shell."""
        released = [packages.wheel(self.clients.home), packages.wheel(self.clients.home, "greeting")]
        published(uv(self.clients, self.index, released))
        self.folder.mkdir()
        (self.folder / "pyproject.toml").write_text(_PYPROJECT)
        (self.folder / "hello_world.py").write_text('"""Greets."""\n')
        packages.wheel(self.folder / "dist", version="2.0")
        packages.sdist(self.folder / "dist", version="2.0")
        shutil.copytree(self.folder / "dist", self.folder / "packages")
        self.clients.run("uv", "venv", "--quiet", self.folder / ".venv")
        self._programs.mkdir()
        for program in {*programs, "uv"} & set(CLIENTS):
            self._link(program)
        self._wrap("python", sys.executable)
        self._wrap("pyoci", f"{sys.executable} -m pyoci")

    def follow(self, block: Block) -> None:
        """Do what a block says. Raises AssertionError if a command of it fails."""
        text = self._filled_in(block.text)
        if block.file:
            path = self.folder / Path(block.file.replace("~", str(self.clients.home), 1))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o600)
        elif block.runs:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment(),
                timeout=_TIME_LIMIT,
                check=False,
            )
            assert done.returncode == 0, f"{block}\n{text}{done.stdout.decode(errors='replace')}"

    @property
    def _programs(self) -> Path:
        return self.clients.home / "bin"

    def _link(self, program: str) -> None:
        found = self.clients.environments.program(program)
        if program == "pip":
            self._wrap(program, f"{found} --python {self.folder / '.venv' / 'bin' / 'python'}")
        else:
            (self._programs / program).symlink_to(found)

    def _wrap(self, program: str, command: str) -> None:
        path = self._programs / program
        path.write_text(_WRAPPER.format(command=command))
        path.chmod(0o700)

    def _environment(self) -> dict[str, str]:
        """The environment of all clients, but with configuration files, which the page may write."""
        environ = self.clients.environment()
        del environ["PIP_CONFIG_FILE"]
        places = (self._programs, self.folder / ".venv" / "bin", os.defpath)
        own = {"PATH": os.pathsep.join(map(str, places)), "PYOCI_EMBEDDED": str(self.embedded)}
        return environ | own

    def _filled_in(self, text: str) -> str:
        text = text.replace("https://old.example.com/root/prod/+simple/", self.index.url)
        address, _, namespace = self.index.url.removeprefix("http://").rstrip("/").partition("/")
        text = re.sub(r"https://([^@/\s]*@)?pyoci\.example\.com", rf"http://\g<1>{address}", text)
        text = text.replace("pyoci.example.com", address.partition(":")[0]).replace("ghcr.io/acme", namespace)
        text = re.sub(r"\bUSER\b", self.index.username, text)
        return re.sub(r"\bTOKEN\b", self.index.password, text)
