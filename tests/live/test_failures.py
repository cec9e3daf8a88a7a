"""What clients show when PyOCI refuses their request, as docs/troubleshooting.rst quotes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyoci.embedded import create_registry_app
from tests.hostile_registries import RolesRegistry
from tests.live import packages
from tests.live.clients import Clients, Outcome
from tests.live.environments import CHECKOUT
from tests.live.indexes import PackageIndex
from tests.live.publishing import Publisher, pdm, poetry, published, twine, uv
from tests.live.pyprojects import pyproject
from tests.live.servers import Port, Server, Servers, htpasswd, start_pyoci
from tests.serving import served

PAGE = " ".join((CHECKOUT / "docs" / "troubleshooting.rst").read_text().split())
LIMIT = 20_000  # bytes of an upload
INSTALLING = {
    ("wrong password", "pip"): "401 Error, Credentials not correct for",
    ("wrong password", "uv"): "lack of valid authentication credentials (401 Unauthorized)",
    ("wrong password", "poetry"): "Authorization error accessing",
    ("wrong password", "pdm"): "Unable to find candidates for",
    ("no such project", "pip"): "No matching distribution found for",
    ("no such project", "uv"): "was not found in the package registry",
    ("no such project", "poetry"): "doesn't match any versions, version solving failed",
    ("no such project", "pdm"): "Unable to find candidates for",
    ("registry down", "pip"): "No matching distribution found for",
    ("registry down", "uv"): "could not be reached, or broke off",
    ("registry down", "poetry"): "503 Server Error:",
    ("registry down", "pdm"): "Unable to find candidates for",
}
PUBLISHING = {
    ("wrong password", twine): "HTTPError: 401 Unauthorized from",
    ("wrong password", uv): "Server returned status code 401 Unauthorized.",
    ("wrong password", poetry): "HTTP Error 401",
    ("wrong password", pdm): "Client error '401 Unauthorized' for url",
    ("no right to write", twine): "HTTPError: 403 Forbidden from",
    ("no right to write", uv): "Server returned status code 403 Forbidden.",
    ("no right to write", poetry): "HTTP Error 403",
    ("no right to write", pdm): "Client error '403 Forbidden' for url",
    ("another file", twine): "HTTPError: 409 Conflict from",
    ("another file", uv): "Server returned status code 409 Conflict.",
    ("another file", poetry): "HTTP Error 409: File already exists",
    ("another file", pdm): "Client error '409 Conflict' for url",
    ("too large", twine): "HTTPError: 413",
    ("too large", uv): "Server returned status code 413 Payload Too Large.",
    ("too large", poetry): "HTTP Error 413: the upload has",
    ("too large", pdm): "Client error '413 Request Entity Too Large' for url",
}


@dataclass(frozen=True, slots=True)
class Failing:
    """A PyOCI, and the URL of a registry of whose accounts `reader` may not write."""

    server: Server

    def index(self, case: str) -> PackageIndex:
        registry = {"no right to write": "roles", "registry down": "down"}.get(case, "local")
        username = "reader" if registry == "roles" else "me"
        password = "mistaken" if case == "wrong password" else username
        return PackageIndex.new(self.server, registry, "").signed_in(username, password)


@pytest.fixture(scope="module")
def failing(
    servers: Servers, ports: Callable[[str], Port], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Failing]:
    folder = tmp_path_factory.mktemp("failing")
    registry = RolesRegistry(create_registry_app(folder / "roles", htpasswd=None, local_only=False))
    registry.go_on.set()
    with served(registry) as roles:
        server = start_pyoci(
            servers,
            "failing-pyoci",
            ports("failing-pyoci"),
            PYOCI_EMBEDDED=str(folder / "embedded"),
            PYOCI_EMBEDDED_HTPASSWD=str(htpasswd(folder / "htpasswd", me="me")),
            PYOCI_MAX_BODY=str(LIMIT),
            PYOCI_REGISTRIES=f"roles={roles},down=http://127.0.0.1:9",
        )
        yield Failing(server)


def install(client: str, clients: Clients, index: PackageIndex, folder: Path) -> Outcome:
    url = index.url_with_credentials
    if client == "pip":
        where = ("--no-cache-dir", "--target", folder / "installed", "--index-url", url)
        return clients.attempt("pip", "install", *where, "hello-world")
    if client == "uv":
        command = ("pip", "install", "--target", folder / "installed", "--default-index", url)
        return clients.attempt("uv", *command, "hello-world")
    if client == "poetry":
        (folder / "pyproject.toml").write_text(pyproject("poetry", index.url))
        account = {
            "POETRY_HTTP_BASIC_PYOCI_USERNAME": index.username,
            "POETRY_HTTP_BASIC_PYOCI_PASSWORD": index.password,
        }
        return clients.attempt("poetry", "lock", cwd=folder, **account)
    (folder / "pyproject.toml").write_text(pyproject("pdm", url))
    return clients.attempt("pdm", "lock", cwd=folder, PDM_USE_VENV="false")


@pytest.mark.parametrize(
    ("case", "client", "shown"),
    [
        pytest.param(case, client, shown, id=f"{client}, {case}", marks=pytest.mark.live(client))
        for (case, client), shown in INSTALLING.items()
    ],
)
def test_installing(
    case: str, client: str, shown: str, failing: Failing, clients: Clients, tmp_path: Path
) -> None:
    """The client shows what the page quotes."""
    outcome = install(client, clients, failing.index(case), tmp_path)
    assert outcome.code != 0
    assert shown in " ".join(outcome.output.split()), str(outcome)
    assert f"{client}: ``{shown}``" in PAGE


@pytest.mark.live("uv")
@pytest.mark.parametrize(
    ("case", "publish", "shown"),
    [
        pytest.param(
            case,
            publish,
            shown,
            id=f"{publish.__name__}, {case}",
            marks=pytest.mark.live(publish.__name__),
        )
        for (case, publish), shown in PUBLISHING.items()
    ],
)
def test_publishing(
    case: str, publish: Publisher, shown: str, failing: Failing, clients: Clients, tmp_path: Path
) -> None:
    """The client shows what the page quotes."""
    index = failing.index(case)
    ballast = os.urandom(LIMIT).hex() if case == "too large" else "two"
    file = packages.wheel(tmp_path / "second", text=ballast)
    if case == "another file":
        published(uv(clients, index, [packages.wheel(tmp_path / "first", text="one")]))

    outcome = publish(clients, index, [file])

    assert outcome.code != 0
    assert shown in " ".join(outcome.output.split()), str(outcome)
    assert f": ``{shown}``" in PAGE
