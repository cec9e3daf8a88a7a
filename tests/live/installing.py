"""How a person installs `hello-world` from a private package index with each client, old and new."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import quote, urlsplit

from packaging.utils import canonicalize_name

from tests.live.clients import Clients
from tests.live.indexes import PackageIndex

# Poetry before 2.0 doesn't read the table `project`, before 1.5 no `priority`.
_POETRY_1 = """\
[tool.poetry]
name = "app"
version = "1.0"
description = ""
authors = []
[tool.poetry.dependencies]
python = ">={python},<4"
hello-world = "{specifier}"
[[tool.poetry.source]]
name = "pyoci"
url = "{url}"
default = true
"""
_POETRY_2 = """\
[project]
name = "app"
version = "1.0"
requires-python = ">={python},<4"
dependencies = ["hello-world{specifier}"]
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "pyoci"
url = "{url}"
"""
_PDM = """\
[project]
name = "app"
version = "1.0"
requires-python = ">={python}"
dependencies = ["hello-world{specifier}"]
[[tool.pdm.source]]
name = "pypi"
url = "{url}"
verify_ssl = false
"""
_HATCH = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "app"
version = "1.0"
[tool.hatch.envs.default]
skip-install = true
dependencies = ["hello-world{specifier}"]
"""
_PIPFILE = """\
[[source]]
name = "pyoci"
url = "{url}"
verify_ssl = false
[packages]
hello-world = "{specifier}"
"""
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_PRIVATE = ("hello-world", "acme-greeting")
_KEYRING = "keyrings.alt.file.PlaintextKeyring"  # a file below XDG_DATA_HOME


@dataclass(frozen=True, slots=True)
class Installation:
    """One client, `pip==20.0.2`, in a folder of its own."""

    client: str
    clients: Clients
    index: PackageIndex
    folder: Path

    def run(self, *arguments: object, **environ: str) -> str:
        return self.clients.run(self.client, *arguments, cwd=self.folder, **environ)

    def write(self, name: str, template: str, specifier: str, url: str) -> None:
        (self.folder / name).write_text(template.format(python=_PYTHON, specifier=specifier, url=url))

    @property
    def url_with_user(self) -> str:
        """The keyring is asked for the password of a known user."""
        return self.index.url.replace("://", f"://{quote(self.index.username)}@")

    def write_netrc(self) -> None:
        host = urlsplit(self.index.url).hostname
        path = self.clients.home / ".netrc"
        path.write_text(f'machine {host} login {self.index.username} password "{self.index.password}"\n')
        path.chmod(0o600)

    def fill_keyring(self, service: str) -> dict[str, str]:
        """Gives the settings of programs that shall look there."""
        python = self.clients.environments.python("keyring==25")
        settings = {"PYTHON_KEYRING_BACKEND": _KEYRING, "HOME": str(self.clients.home)}
        script = "import keyring, sys; keyring.set_password(*sys.argv[1:])"
        account = (self.index.username, self.index.password)
        subprocess.run([python, "-c", script, service, *account], env=settings, check=True, timeout=60)
        return settings

    def installed(self, folder: Path) -> list[str]:
        """What was installed into `folder` of the two private projects."""
        places = [str(path) for path in folder.glob("lib*/python*/site-packages")] or [str(folder)]
        found = {(canonicalize_name(each.name), each.version) for each in distributions(path=places)}
        return sorted(f"{name}=={version}" for name, version in found if name in _PRIVATE)


Install = Callable[[Installation, str], list[str]]


def pip(here: Installation, url: str, specifier: str, **environ: str) -> list[str]:
    # pip before 22.3 installs into its own environment, or into a folder.
    options = ("--no-cache-dir", "--target", here.folder / "target", "--index-url", url)
    here.run("install", *options, f"hello-world{specifier}", **environ)
    return here.installed(here.folder / "target")


def pip_by_url(here: Installation, specifier: str) -> list[str]:
    return pip(here, here.index.url_with_credentials, specifier)


def pip_by_netrc(here: Installation, specifier: str) -> list[str]:
    here.write_netrc()
    return pip(here, here.index.url, specifier)


def pip_by_keyring(here: Installation, specifier: str) -> list[str]:
    settings = here.fill_keyring(urlsplit(here.index.url).netloc)
    return pip(
        here, here.url_with_user, specifier, PIP_NO_INPUT="0", PIP_KEYRING_PROVIDER="import", **settings
    )


def uv(here: Installation, url: str, specifier: str, *options: str, **environ: str) -> list[str]:
    python = here.clients.new_environment("environment")
    how = ("--index-url", url, "--python", python, *options)
    here.run("pip", "install", *how, f"hello-world{specifier}", **environ)
    return here.installed(python.parent.parent)


def uv_by_url(here: Installation, specifier: str) -> list[str]:
    return uv(here, here.index.url_with_credentials, specifier)


def uv_by_netrc(here: Installation, specifier: str) -> list[str]:
    here.write_netrc()
    return uv(here, here.index.url, specifier)


def uv_by_keyring(here: Installation, specifier: str) -> list[str]:
    settings = here.fill_keyring(urlsplit(here.index.url).netloc)
    path = f"{here.clients.environments.program('keyring==25').parent}:{here.clients.environment()['PATH']}"
    provider = ("--keyring-provider", "subprocess")
    return uv(here, here.url_with_user, specifier, *provider, PATH=path, **settings)


def poetry(here: Installation, specifier: str) -> list[str]:
    template = _POETRY_1 if "==1" in here.client else _POETRY_2
    here.write("pyproject.toml", template, specifier, here.index.url)
    account = {
        "POETRY_HTTP_BASIC_PYOCI_USERNAME": here.index.username,
        "POETRY_HTTP_BASIC_PYOCI_PASSWORD": here.index.password,
    }
    here.run("lock", **account)
    here.run("install", "--no-root", **account)
    return here.installed(here.folder / ".venv")


def pdm(here: Installation, specifier: str) -> list[str]:
    """From ~/.netrc: old releases quote a password in a URL twice."""
    here.write_netrc()
    here.write("pyproject.toml", _PDM, specifier, here.index.url)
    here.run("lock")
    here.run("sync", "--no-self")
    return here.installed(here.folder / ".venv")


def hatch(here: Installation, specifier: str) -> list[str]:
    here.write("pyproject.toml", _HATCH, specifier, here.index.url)
    environ = {"HATCH_ENV_TYPE_VIRTUAL_PATH": str(here.folder / ".venv"), "HATCH_PYTHON": sys.executable}
    here.run(
        "run", "python", "-c", "import hello_world", PIP_INDEX_URL=here.index.url_with_credentials, **environ
    )
    return here.installed(here.folder / ".venv")


def pipenv(here: Installation, specifier: str) -> list[str]:
    """From ~/.netrc: pipenv 2026 asks for METADATA without the credentials in the URL of a Pipfile."""
    here.write_netrc()
    here.write("Pipfile", _PIPFILE, specifier, here.index.url)
    environ = {"PIPENV_VENV_IN_PROJECT": "1", "PIPENV_IGNORE_VIRTUALENVS": "1"}
    here.run("--python", sys.executable, "lock", **environ)
    here.run("sync", **environ)
    return here.installed(here.folder / ".venv")


def pip_compile(here: Installation, specifier: str) -> list[str]:
    here.write_netrc()
    (here.folder / "requirements.in").write_text(f"hello-world{specifier}\n")
    options = ("--generate-hashes", "--index-url", here.index.url, "--output-file", "requirements.txt")
    here.run(*options, "requirements.in")
    lines = (here.folder / "requirements.txt").read_text().splitlines()
    assert sum("--hash=sha256:" in line for line in lines) == 2
    pins = (line.split()[0].split("==") for line in lines if "==" in line)
    return sorted(f"{canonicalize_name(name)}=={version}" for name, version in pins)
