"""The commands in README.rst and in docs, run against a real PyOCI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv
from tests.live.readers import Reader
from tests.live.servers import Port, Server, Servers, htpasswd, start_pyoci

USER, TOKEN = "alex", "s3cret"
# What the pages with commands run. tests/docs/test_blocks.py knows when one is missing.
PROGRAMS = {
    "README": ("pip", "uv", "twine", "curl"),
    "docs/getting-started": ("pip", "uv", "twine", "curl"),
    "docs/clients/pip": ("pip", "pip-compile"),
    "docs/clients/uv": ("uv",),
    "docs/clients/poetry": ("poetry",),
    "docs/clients/pdm": ("pdm",),
    "docs/clients/hatch": ("hatch",),
    "docs/clients/twine": ("twine",),
    "docs/clients/flit": ("flit",),
    "docs/moving": (),
    "docs/upstream": ("pip", "pip-compile", "poetry", "pdm", "curl"),
}


@pytest.fixture(scope="session")
def elsewhere(servers: Servers, ports: Callable[[str], Port]) -> Server:
    """An empty package index in place of PyPI."""
    return start_pyoci(
        servers, "elsewhere", ports("elsewhere"), PYOCI_EMBEDDED=str(servers.folder / "elsewhere")
    )


@pytest.fixture(scope="session")
def documented_pyoci(servers: Servers, ports: Callable[[str], Port], elsewhere: Server) -> Server:
    """PyOCI whose embedded registry has only the reader's account. It asks `elsewhere` for other projects."""
    accounts = htpasswd(servers.folder / "documented.htpasswd", **{USER: TOKEN})
    return start_pyoci(
        servers,
        "documented-pyoci",
        ports("documented-pyoci"),
        PYOCI_EMBEDDED=str(servers.folder / "documented"),
        PYOCI_EMBEDDED_HTPASSWD=str(accounts),
        PYOCI_DEFAULT_INDEX="local/acme",
        PYOCI_UPSTREAM_INDEX=f"{elsewhere.url}/local/pypi/",
    )


@pytest.fixture
def flask(elsewhere: Server, clients: Clients, tmp_path: Path) -> None:
    """A project of that name in `elsewhere`."""
    index = PackageIndex(url=f"{elsewhere.url}/local/pypi/", registry="")
    published(uv(clients, index, [packages.wheel(tmp_path, "flask", "3.1")]))


@pytest.mark.live("uv")
@pytest.mark.usefixtures("flask")
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page, marks=pytest.mark.live(*PROGRAMS[page])) for page in PROGRAMS]
)
def test_commands(
    page: str, servers: Servers, documented_pyoci: Server, clients: Clients, tmp_path: Path
) -> None:
    """Each command of the page succeeds, in order, and what it publishes is on the page."""
    index = PackageIndex.new(documented_pyoci, "local", "").signed_in(USER, TOKEN)
    if page == "docs/upstream":  # its URL is the short one, and that has one namespace
        index = replace(index, url=f"{documented_pyoci.url}/local/acme/")
    reader = Reader(clients, index, tmp_path / "hello-world", servers.folder / "documented")
    reader.prepare(PROGRAMS[page])
    shown = blocks(page)

    for block in shown:
        reader.follow(block)

    words = {word for block in shown if block.runs for word in block.text.split()}
    publishes = bool({"publish", "upload", "import"} & words)
    versions = {filename.split("-")[1].removesuffix(".tar.gz") for filename in index.filenames("hello-world")}
    assert versions == ({"1.0", "2.0"} if publishes else {"1.0"})
