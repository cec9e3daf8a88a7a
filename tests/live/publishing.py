"""Publishing files with each of the clients."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from packaging.utils import parse_sdist_filename, parse_wheel_filename

from tests.live.clients import Clients, Outcome
from tests.live.indexes import PackageIndex

Publisher = Callable[[Clients, PackageIndex, Sequence[Path]], Outcome]

_POETRY = """\
[project]
name = "{name}"
version = "{version}"

[tool.poetry]
name = "{name}"
version = "{version}"
description = "poetry before 2.0 reads this table"
authors = []

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""
_FLIT = """\
[project]
name = "{name}"
version = "{version}"
description = "Greets."

[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"
"""
_SETUP = """\
from distutils.core import setup
setup(name="{name}", version="{version}", description="Greets.", py_modules=[])
"""


def twine(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`twine upload`. For a refusal it shows the reason phrase, and the body only with --verbose."""
    account = ("--username", index.username, "--password", index.password)
    where = ("--non-interactive", "--disable-progress-bar", "--repository-url", index.url)
    return clients.attempt("twine", "upload", *where, *account, *files)


def uv(clients: Clients, index: PackageIndex, files: Sequence[Path], *options: str) -> Outcome:
    """`uv publish`."""
    account = ("--username", index.username, "--password", index.password)
    return clients.attempt("uv", "publish", "--publish-url", index.url, *account, *options, *files)


def hatch(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`hatch publish`. It reads the page first, and skips the files on it."""
    account = ("--user", index.username, "--auth", index.password)
    return clients.attempt("hatch", "publish", "--no-prompt", "--repo", index.url, *account, *files)


def poetry(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`poetry publish`, which uploads only files with the name and version of its project."""
    name, version = _identity(files[0])
    project = _project_of(clients, files, _POETRY.format(name=name, version=version))
    account = ("--username", index.username, "--password", index.password)
    return clients.attempt(
        "poetry",
        "publish",
        "--repository",
        "pyoci",
        *account,
        cwd=project,
        POETRY_REPOSITORIES_PYOCI_URL=index.url,
    )


def pdm(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`pdm publish` of every file in one folder. It shows the message of a refusal only with -vv."""
    folder = _project_of(clients, files, "")
    account = ("--username", index.username, "--password", index.password)
    where = ("-vv", "--no-build", "--project", folder, "--repository", index.url)
    return clients.attempt("pdm", "publish", *where, *account, PDM_USE_VENV="false")


def flit(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`flit publish`, which builds what it sends."""
    name, version = _identity(files[0])
    module = name.replace("-", "_")
    (files[0].parent / "pyproject.toml").write_text(_FLIT.format(name=module, version=version))
    (files[0].parent / f"{module}.py").touch()
    account = {"FLIT_USERNAME": index.username, "FLIT_PASSWORD": index.password}
    return clients.attempt("flit", "publish", cwd=files[0].parent, FLIT_INDEX_URL=index.url, **account)


def maturin(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`maturin upload`."""
    account = ("--username", index.username, "--password", index.password)
    return clients.attempt("maturin", "upload", "--repository-url", index.url, *account, *files)


def distutils(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`setup.py sdist upload`, which builds what it sends, as Python before 3.12 has it."""
    name, version = _identity(files[0])
    (files[0].parent / "setup.py").write_text(_SETUP.format(name=name, version=version))
    account = f"username: {index.username}\npassword: {index.password}\n"
    (clients.home / ".pypirc").write_text(
        f"[distutils]\nindex-servers: acme\n[acme]\nrepository: {index.url}\n{account}"
    )
    command = ("setup.py", "sdist", "upload", "--repository", "acme")
    return clients.attempt("python", *command, cwd=files[0].parent)


PUBLISHERS = [
    pytest.param(publisher, id=publisher.__name__, marks=pytest.mark.live(publisher.__name__))
    for publisher in (twine, uv, hatch, poetry, pdm)
]


def published(outcome: Outcome) -> str:
    """The output of a client that must succeed."""
    assert outcome.code == 0, str(outcome)
    return outcome.output


def refused(outcome: Outcome) -> str:
    """The output of a client that must fail."""
    assert outcome.code != 0, str(outcome)
    return outcome.output


def _project_of(clients: Clients, files: Sequence[Path], pyproject: str) -> Path:
    """A project whose folder `dist` has these files and no others."""
    folder = Path(tempfile.mkdtemp(dir=clients.home))
    (folder / "pyproject.toml").write_text(pyproject)
    (folder / "dist").mkdir()
    for file in files:
        (folder / "dist" / file.name).symlink_to(file)
    return folder


def _identity(file: Path) -> tuple[str, str]:
    if file.suffix == ".whl":
        name, version, *_ = parse_wheel_filename(file.name)
    else:
        name, version = parse_sdist_filename(file.name)
    return str(name), str(version)
