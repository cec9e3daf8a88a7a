"""Real clients at short URLs: /simple/ and /legacy/ like at PyPI, the operator's names, and nothing else."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from tests.live import packages
from tests.live.clients import Clients
from tests.live.conftest import WRITER
from tests.live.indexes import PackageIndex
from tests.live.publishing import PUBLISHERS, Publisher, published, refused, twine, uv
from tests.live.servers import Port, Server, Servers, htpasswd, start_pyoci, start_serve

NAMES = ("simple", "team")


@pytest.fixture(scope="module")
def short_pyoci(servers: Servers, ports: Callable[[str], Port]) -> Server:
    """PyOCI below a path, with two short URLs of the embedded registry, and nothing but them."""
    accounts = htpasswd(servers.folder / "short.htpasswd", **dict([WRITER]))
    return start_pyoci(
        servers,
        "short-pyoci",
        ports("short-pyoci"),
        PYOCI_EMBEDDED=str(servers.folder / "short-embedded"),
        PYOCI_EMBEDDED_HTPASSWD=str(accounts),
        PYOCI_PATH="/packages",
        PYOCI_REGISTRIES="ghcr=ghcr.io",
        PYOCI_DEFAULT_INDEX="local/acme",
        PYOCI_INDEXES="team=local/acme/python, gh=ghcr/acme",
        PYOCI_ONLY_INDEXES="yes",
    )


@pytest.fixture
def site(short_pyoci: Server) -> PackageIndex:
    """All that is below the path, for WRITER."""
    return PackageIndex(url=f"{short_pyoci.url}/packages/", registry="").signed_in(*WRITER)


@pytest.fixture
def project() -> str:
    """A project that only one test uses, because all share one namespace."""
    return f"hello-{uuid.uuid4().hex[:12]}"


def at(site: PackageIndex, path: str) -> PackageIndex:
    """The package index at `path` below the site."""
    return replace(site, url=f"{site.url}{path}")


def files_of(folder: Path, name: str, version: str = "1.0") -> Sequence[Path]:
    return [packages.wheel(folder, name, version), packages.sdist(folder, name, version)]


@pytest.mark.parametrize("path", ["simple/", "legacy/", "simple", "legacy", "team/"])
@pytest.mark.parametrize("publish", PUBLISHERS)
def test_publish(
    publish: Publisher, clients: Clients, site: PackageIndex, project: str, path: str, tmp_path: Path
) -> None:
    """Every client publishes there, twice, with and without a final slash."""
    files = files_of(tmp_path / "dist", project)
    for _ in range(2):
        published(publish(clients, at(site, path), files))
    name = "team/" if path == "team/" else "simple/"
    assert sorted(at(site, name).filenames(project)) == sorted(file.name for file in files)


@pytest.mark.live("twine")
def test_publish_with_a_wrong_password(
    clients: Clients, site: PackageIndex, project: str, tmp_path: Path
) -> None:
    """401, and nothing is stored."""
    stranger = at(site, "legacy/").signed_in("writer", "wrong")
    assert "401" in refused(twine(clients, stranger, files_of(tmp_path / "dist", project)))
    assert site.get(f"simple/{project}/").status_code == 404


@pytest.mark.live("uv")
def test_publish_and_check(clients: Clients, site: PackageIndex, project: str, tmp_path: Path) -> None:
    """uv publish uses two addresses, like for PyPI, and skips the files on the page."""
    files = files_of(tmp_path / "dist", project)
    check = ("--check-url", at(site, "simple/").url_with_credentials)
    published(uv(clients, at(site, "legacy/"), files, *check))
    again = published(uv(clients, at(site, "legacy/"), files, *check))
    assert again.count("already exists, skipping") == len(files)


@pytest.mark.live("pip", "uv", "twine")
@pytest.mark.parametrize("name", NAMES)
def test_install(clients: Clients, site: PackageIndex, project: str, name: str, tmp_path: Path) -> None:
    """pip and uv install from a short URL, with metadata and files from there."""
    index = at(site, f"{name}/")
    published(twine(clients, index, files_of(tmp_path / "dist", project)))
    with_pip, with_uv = clients.new_environment("with-pip"), clients.new_environment("with-uv")
    url = index.url_with_credentials
    clients.run("pip", "--python", with_pip, "install", "--index-url", url, project)
    clients.run("uv", "pip", "install", "--python", with_uv, "--default-index", url, project)
    for python in (with_pip, with_uv):
        assert clients.installed(python) == [f"{project}==1.0"]


@pytest.mark.live("pip", "twine")
def test_two_names_are_two_package_indexes(
    clients: Clients, site: PackageIndex, project: str, tmp_path: Path
) -> None:
    """A file in one isn't in the other, also if one namespace is below the other."""
    published(twine(clients, at(site, "team/"), files_of(tmp_path / "dist", project)))
    assert site.get(f"simple/{project}/").status_code == 404
    assert site.get(f"simple/python/{project}/").status_code == 404


@pytest.mark.live("poetry", "uv", "twine")
def test_locks(clients: Clients, site: PackageIndex, project: str, tmp_path: Path) -> None:
    """uv and poetry lock with /simple/. The URLs in uv's lock file are below it."""
    index = at(site, "simple/")
    published(twine(clients, index, files_of(tmp_path / "dist", project)))
    head = '[project]\nname = "app"\nversion = "1.0"\nrequires-python = ">=3.11,<4"\n'
    (tmp_path / "pyproject.toml").write_text(
        f'{head}dependencies = ["{project}"]\n'
        f'[[tool.uv.index]]\nname = "pyoci"\nurl = "{index.url}"\ndefault = true\n'
        f"[tool.poetry]\npackage-mode = false\n"
        f'[[tool.poetry.source]]\nname = "pyoci"\nurl = "{index.url}"\npriority = "primary"\n'
    )
    user, password = WRITER
    environ = {"UV_INDEX_PYOCI_USERNAME": user, "UV_INDEX_PYOCI_PASSWORD": password}
    clients.run("uv", "lock", cwd=tmp_path, **environ)
    assert f'url = "{index.url}{project}/' in (tmp_path / "uv.lock").read_text()
    environ = {"POETRY_HTTP_BASIC_PYOCI_USERNAME": user, "POETRY_HTTP_BASIC_PYOCI_PASSWORD": password}
    clients.run("poetry", "lock", cwd=tmp_path, **environ)
    assert f"{project.replace('-', '_')}-1.0-py3-none-any.whl" in (tmp_path / "poetry.lock").read_text()


@pytest.mark.live("uv")
@pytest.mark.parametrize("path", ["pypi/{}/json", "simple/{}/json"])
def test_legacy_json(clients: Clients, site: PackageIndex, project: str, path: str, tmp_path: Path) -> None:
    """Renovate and Dependabot read it. Its links lead to the files, and another spelling is redirected."""
    files = files_of(tmp_path / "dist", project)
    published(uv(clients, at(site, "legacy/"), files))
    for spelled in (project, project.upper().replace("-", "_")):
        answer = site.get(path.format(spelled), Accept="application/json").json()
        found = {file["filename"]: file["url"] for file in answer["releases"]["1.0"]}
        assert found.keys() == {file.name for file in files}
        for file in files:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert found[file.name] == f"{site.url}simple/{project}/+{digest[:16]}/{file.name}"
            content = site.get(found[file.name].removeprefix(site.url)).content
            assert content == file.read_bytes()


@pytest.mark.live("uv")
def test_yank_and_delete(clients: Clients, site: PackageIndex, project: str, tmp_path: Path) -> None:
    """A version, a file, and the rest. The cached page isn't served again."""
    index = at(site, "team/")
    for version in ("1.0", "2.0"):
        published(uv(clients, index, files_of(tmp_path / version, project, version)))
    assert len(index.filenames(project)) == 4
    index.yank(f"{project}/1.0", "broken")
    assert [file.get("yanked") for file in index.page(project)["files"]] == ["broken"] * 2 + [None] * 2
    for path in (f"{project}/1.0", f"{project}/{index.filenames(project)[-1]}"):
        requests.delete(f"{index.url}{path}", auth=WRITER, timeout=60).raise_for_status()
    assert len(index.filenames(project)) == 1


@pytest.mark.parametrize(
    "path", ["local/acme/", "ghcr.io/acme/", "ghcr/acme/", "../v2/", "../v2/_catalog", "x/"]
)
def test_nothing_else_is_served(short_pyoci: Server, path: str) -> None:
    """Neither the registries behind the names nor the embedded registry's API."""
    url = urljoin(f"{short_pyoci.url}/packages/", path)
    answer = requests.get(url, auth=WRITER, timeout=60)
    assert answer.status_code == 404
    assert "team" not in answer.text


def test_what_the_log_says(site: PackageIndex, short_pyoci: Server, project: str) -> None:
    """The requested URL, and the registry and repository that it stands for."""
    site.get(f"simple/{project}/")
    line = short_pyoci.line('"request"', project)
    assert f"/packages/simple/{project}/" in line
    assert f"acme/{project}" in line
    assert "local" in line


def test_serve_prints_the_short_url(servers: Servers, ports: Callable[[str], Port]) -> None:
    """If one leads to the embedded registry, because the long one may not be served."""
    port = ports("short-serve")
    server = start_serve(
        servers, "short-serve", port, PYOCI_DEFAULT_INDEX="local/main", PYOCI_ONLY_INDEXES="yes"
    )
    url = f"{server.url.replace('127.0.0.1', 'localhost')}/simple/"
    assert f"pip install --index-url {url} " in server.log.read_text()
    assert requests.get(f"{server.url}/simple/", timeout=60).status_code == 200
