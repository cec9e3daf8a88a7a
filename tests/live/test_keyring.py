"""pip and uv get a password from a credential helper, by keyring: no file and no URL has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.live import packages
from tests.live.clients import Clients, Outcome
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv

# It answers for one registry. The variables stand for the operating system's own store.
HELPER = """\
#!/bin/sh
test "$1" = get || exit 1
read server
test "$server" = "$STORED_FOR" || { echo "credentials not found in native keychain"; exit 1; }
printf '{"ServerURL": "%s", "Username": "%s", "Secret": "%s"}' "$server" "$STORED_USER" "$STORED_SECRET"
"""
Installer = Callable[["Laptop", Path], Outcome]


class Laptop:
    """The home of a user who has logged in to a registry with `docker login`, and who has keyring and this
    distribution in one environment.
    """

    def __init__(self, clients: Clients, index: PackageIndex) -> None:
        self.clients = clients
        self.index = index
        self.registry = index.registry.partition("/")[0]
        programs = clients.home / "bin"
        programs.mkdir()
        keyring = f'#!/bin/sh\nexec "{sys.executable}" -P -m keyring "$@"\n'
        for name, script in (("docker-credential-test", HELPER), ("keyring", keyring)):
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)
        (clients.home / ".docker").mkdir()
        config = {"credHelpers": {self.registry: "test"}}
        (clients.home / ".docker" / "config.json").write_text(json.dumps(config))
        self.environ = {
            "PATH": f"{programs}:{os.defpath}",
            # What keyring chooses by itself on a desktop: all backends that are installed, one after another.
            "PYTHON_KEYRING_BACKEND": "keyring.backends.chainer.ChainerBackend",
            "STORED_FOR": self.registry,
            "STORED_USER": index.username,
            "STORED_SECRET": index.password,
        }

    def run(self, program: str, *arguments: object) -> Outcome:
        return self.clients.attempt(program, *arguments, cwd=None, **self.environ)

    def list_server(self) -> None:
        """`pyoci login`, which finds the login in the helper. The URL has an alias of the registry."""
        done = subprocess.run(
            [sys.executable, "-m", "pyoci", "login", self.index.url, "--registry", self.registry],
            env=self.clients.environment() | self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert "is stored already" in done.stdout

    def files_with(self, secret: str) -> list[Path]:
        """The files of the home that contain a text."""
        files = (path for path in self.clients.home.rglob("*") if path.is_file() and not path.is_symlink())
        return [path for path in files if secret.encode() in path.read_bytes()]


def pip_install(laptop: Laptop, python: Path) -> Outcome:
    """pip asks for the URL, as JSON."""
    how = ("--keyring-provider", "subprocess", "--index-url", laptop.index.url)
    return laptop.run("pip", "--python", python, "install", *how, "hello-world")


def uv_install_with_user(laptop: Laptop, python: Path) -> Outcome:
    """uv asks for the password of the user in the URL."""
    parts = urlsplit(laptop.index.url)
    url = parts._replace(netloc=f"{laptop.index.username}@{parts.netloc}").geturl()
    how = ("--keyring-provider", "subprocess", "--index-url", url)
    return laptop.run("uv", "pip", "install", "--python", python, *how, "hello-world")


def uv_install_always(laptop: Laptop, python: Path) -> Outcome:
    """uv asks for user and password, where the index says that it always needs them."""
    (laptop.clients.home / "uv.toml").write_text(
        f'keyring-provider = "subprocess"\n[[index]]\nurl = "{laptop.index.url}"\n'
        'authenticate = "always"\ndefault = true\n'
    )
    how = ("--config-file", laptop.clients.home / "uv.toml")
    return laptop.run("uv", "pip", "install", "--python", python, *how, "hello-world")


pytestmark = [
    pytest.mark.live("uv"),
    pytest.mark.parametrize(
        "install",
        [
            pytest.param(pip_install, id="pip", marks=pytest.mark.live("pip")),
            pytest.param(uv_install_with_user, id="uv"),
            pytest.param(uv_install_always, id="uv always"),
        ],
    ),
]


@pytest.fixture
def laptop(clients: Clients, guarded_index: PackageIndex, tmp_path: Path) -> Laptop:
    """A laptop, and a published package that it has no password for in any file."""
    published(uv(clients, guarded_index, [packages.wheel(tmp_path)]))
    shutil.rmtree(clients.home / ".cache", ignore_errors=True)
    return Laptop(clients, guarded_index)


@pytest.fixture
def python(clients: Clients) -> Path:
    """The interpreter of an environment where nothing is installed."""
    return clients.new_environment("environment")


def test_what_docker_login_stored_is_enough(install: Installer, laptop: Laptop, python: Path) -> None:
    """After `pyoci login`, which lists the server. Afterwards, too, no file of the home has the secret."""
    laptop.list_server()

    outcome = install(laptop, python)

    assert outcome.code == 0, str(outcome)
    assert laptop.clients.installed(python) == ["hello-world==1.0"]
    assert laptop.index.password not in outcome.output
    assert laptop.files_with(laptop.index.password) == []


def test_a_server_that_is_not_listed_gets_nothing(install: Installer, laptop: Laptop, python: Path) -> None:
    """The client is told that it has no credentials."""
    outcome = install(laptop, python)

    assert outcome.code != 0, str(outcome)
    assert laptop.clients.installed(python) == []
