"""The real clients, run like by a user, with an empty home and without this machine's settings."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path

from tests.live.environments import Environments
from tests.live.programs import find

_TIME_LIMIT = 120  # seconds for one command


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a command, with all its output."""

    command: tuple[str, ...]
    code: int
    output: str

    def __str__(self) -> str:
        return f"{' '.join(self.command)}\nended with {self.code}:\n{self.output}"


@dataclass(frozen=True, slots=True)
class Clients:
    """Runs the programs in `CLIENTS`, and skopeo. `home` is the folder for their files."""

    environments: Environments
    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)  # environment variables of all that run
    releases: Mapping[str, str] = field(default_factory=dict)  # {"twine": "twine==3.0.0"}: not the newest

    def run(self, program: str, *arguments: object, cwd: Path | None = None, **environ: str) -> str:
        """Run a command that must succeed; returns its output."""
        outcome = self.attempt(program, *arguments, cwd=cwd, **environ)
        assert outcome.code == 0, str(outcome)
        return outcome.output

    def refused(self, program: str, *arguments: object, cwd: Path | None = None, **environ: str) -> str:
        """Run a command that must fail; returns its output."""
        outcome = self.attempt(program, *arguments, cwd=cwd, **environ)
        assert outcome.code != 0, str(outcome)
        return outcome.output

    def attempt(self, program: str, *arguments: object, cwd: Path | None = None, **environ: str) -> Outcome:
        """Run a command; `environ` adds to its environment."""
        return self._outcome(program, arguments, cwd, self.environment() | environ)

    def from_pypi(self, program: str, *arguments: object) -> str:
        """Run a command that must succeed, with this machine's settings: PyPI may be reachable only with
        them.
        """
        outcome = self._outcome(program, arguments, None, dict(os.environ))
        assert outcome.code == 0, str(outcome)
        return outcome.output

    def _outcome(
        self, program: str, arguments: Sequence[object], cwd: Path | None, environ: dict[str, str]
    ) -> Outcome:
        command = (*self._command(program), *(str(argument) for argument in arguments))
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd or self.home,
            env=environ,
            timeout=_TIME_LIMIT,
            check=False,
        )
        return Outcome(command, done.returncode, done.stdout.decode(errors="replace"))

    def new_environment(self, name: str) -> Path:
        """An empty virtual environment without pip; returns the path of its interpreter."""
        self.run("uv", "venv", "--quiet", "--python", sys.executable, self.home / name)
        return self.home / name / "bin" / "python"

    def modules(self, python: Path) -> Path:
        """The folder of the modules that are installed in the environment of `python`."""
        return Path(sysconfig.get_path("purelib", vars={"base": str(python.parent.parent)}))

    def installed(self, python: Path) -> list[str]:
        """The packages in the environment of `python`, in the form of `pip freeze`, but faster."""
        found = distributions(path=[str(self.modules(python))])
        return sorted((f"{each.name}=={each.version}" for each in found), key=str.lower)

    def freeze(self, python: Path) -> list[str]:
        """The output of `pip freeze` in the environment of `python`, with setuptools and the like."""
        return self.run("pip", "--python", python, "freeze", "--all").splitlines()

    def _command(self, program: str) -> Sequence[str]:
        if program == "skopeo":
            # Without the machine's policy of signatures, which need not be there.
            return (find("skopeo") or "skopeo", "--insecure-policy")
        if program == "oras":
            return (find("oras") or "oras",)
        if program == "renovate":
            # Its first line asks PATH for a Node, which may be one that it doesn't run on.
            node = self.environments.program("renovate").with_name("node")
            return (str(node), str(self.environments.program("renovate")))
        return (str(self.environments.program(self.releases.get(program, program))),)

    def environment(self) -> dict[str, str]:
        """Without PIP_*, UV_*, proxies and configuration files of this machine, which could bypass PyOCI."""
        return {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "COLUMNS": "400",  # messages are looked for in the output: they shall not be wrapped
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "XDG_CONFIG_DIRS": str(self.home),  # uv.toml of the machine
            "UV_PYTHON": sys.executable,
            "UV_PYTHON_DOWNLOADS": "never",
            "POETRY_VIRTUALENVS_IN_PROJECT": "true",
            "POETRY_KEYRING_ENABLED": "false",
            "PDM_CHECK_UPDATE": "false",
            **self.settings,
        }
