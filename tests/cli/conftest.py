"""The command, run in this process, against a PyOCI server on a real socket."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import validator_for

from pyoci.app import create_app
from pyoci.cli import main
from pyoci.cli.commands import command
from pyoci.cli.verb import Verb
from pyoci.config import Settings
from pyoci.library import Anonymous, open_index
from tests.library.conftest import WriteFile, write
from tests.serving import served

__all__ = ["WriteFile", "write"]


@dataclass(frozen=True)
class Ran:
    """What came of one run of the command."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command. The document of --json must fit the schema that the verb declares."""

    def run(*arguments: object) -> Ran:
        words = [str(argument) for argument in arguments]
        capfd.readouterr()
        code = main(words)
        printed = capfd.readouterr()
        ran = Ran(code, printed.out, printed.err)
        if "--json" in words and printed.out:
            _schema(words[0]).validate(ran.document)
        return ran

    return run


@cache
def _schema(word: str) -> Any:
    """The validator with the schema of a verb's documents, which is checked itself, once."""
    verb = command.get_command(command.make_context("pyoci", [word]), word)
    assert isinstance(verb, Verb)
    assert verb.document is not None
    validator = validator_for(verb.document)
    validator.check_schema(verb.document)
    return validator(verb.document)


@pytest.fixture(autouse=True)
def _nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials and settings of whoever runs the tests don't count."""
    for name in os.environ:
        if name.startswith(("PYOCI_", "DOCKER_", "REGISTRY_AUTH_FILE", "NETRC")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@contextmanager
def serving(registry: Path) -> Iterator[str]:
    """A PyOCI server with this directory as its embedded registry; gives its URL."""
    settings = Settings.from_environ({"PYOCI_EMBEDDED": str(registry), "PYOCI_LOG": "off"})
    with served(create_app(settings, sleep=lambda _: None)) as url:
        yield url


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a PyOCI server with an embedded registry."""
    with serving(tmp_path / "registry") as url:
        yield url


@pytest.fixture(params=["registry", "server"])
def index(request: pytest.FixtureRequest, server: str) -> str:
    """The address of the same namespace, straight and through the server."""
    return f"{server}/acme" if request.param == "registry" else f"{server}/local/acme/"


@pytest.fixture(scope="module")
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a registry: the namespace of `index` has the module's FILES, and the versions of its
    YANKED are yanked.
    """
    folder = tmp_path_factory.mktemp("prepared")
    with (
        serving(folder / "registry") as server,
        open_index(f"{server}/local/acme/", Anonymous(), environ={}) as index,
    ):
        for name, content in request.module.FILES:
            (folder / name).write_bytes(content)
            index.publish(folder / name)
        for project, version in getattr(request.module, "YANKED", []):
            index.yank(project, version, "broken")
    return folder / "registry"


@pytest.fixture
def published(prepared: Path, server: str, tmp_path: Path) -> str:
    """The URL of a server whose registry is a copy of the prepared one."""
    shutil.copytree(prepared, tmp_path / "registry", dirs_exist_ok=True)
    return server


@pytest.fixture
def filled(published: str, index: str) -> str:
    """The address of the namespace with the module's FILES, straight and through the server."""
    return index
