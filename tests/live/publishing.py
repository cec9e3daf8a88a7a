"""How a person publishes files with each of the clients."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from packaging.utils import parse_sdist_filename, parse_wheel_filename

from tests.live.clients import Clients, Outcome
from tests.live.indexes import PackageIndex

Publisher = Callable[[Clients, PackageIndex, Sequence[Path]], Outcome]

_PYPROJECT = """\
[project]
name = "{name}"
version = "{version}"

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""


def twine(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`twine upload`; of a refusal it shows the reason phrase, and the body only with --verbose."""
    account = ("--username", index.username, "--password", index.password)
    where = ("--non-interactive", "--disable-progress-bar", "--repository-url", index.url)
    return clients.attempt("twine", "upload", *where, *account, *files)


def uv(clients: Clients, index: PackageIndex, files: Sequence[Path], *options: str) -> Outcome:
    """`uv publish`."""
    account = ("--username", index.username, "--password", index.password)
    return clients.attempt("uv", "publish", "--publish-url", index.url, *account, *options, *files)


def hatch(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`hatch publish`; it looks at the page first, and leaves out what is there."""
    account = ("--user", index.username, "--auth", index.password)
    return clients.attempt("hatch", "publish", "--no-prompt", "--repo", index.url, *account, *files)


def poetry(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`poetry publish`, which takes files only from a project whose name and version they have."""
    name, version = _identity(files[0])
    project = files[0].parent
    (project / "pyproject.toml").write_text(_PYPROJECT.format(name=name, version=version))
    account = ("--username", index.username, "--password", index.password)
    where = ("--repository", "pyoci", "--dist-dir", ".")
    return clients.attempt(
        "poetry", "publish", *where, *account, cwd=project, POETRY_REPOSITORIES_PYOCI_URL=index.url
    )


def pdm(clients: Clients, index: PackageIndex, files: Sequence[Path]) -> Outcome:
    """`pdm publish` of every file in one folder; it shows the sentence of a refusal only with -vv."""
    folder = Path(tempfile.mkdtemp(dir=clients.home))
    (folder / "pyproject.toml").write_text("")
    (folder / "dist").mkdir()
    for file in files:
        (folder / "dist" / file.name).symlink_to(file)
    account = ("--username", index.username, "--password", index.password)
    where = ("-vv", "--no-build", "--project", folder, "--repository", index.url)
    return clients.attempt("pdm", "publish", *where, *account, PDM_USE_VENV="false")


PUBLISHERS = [
    pytest.param(publisher, id=publisher.__name__, marks=pytest.mark.live(publisher.__name__))
    for publisher in (twine, uv, hatch, poetry, pdm)
]


def published(outcome: Outcome) -> str:
    """What a client printed that must have succeeded."""
    assert outcome.code == 0, str(outcome)
    return outcome.output


def refused(outcome: Outcome) -> str:
    """What a client printed that must have failed."""
    assert outcome.code != 0, str(outcome)
    return outcome.output


def _identity(file: Path) -> tuple[str, str]:
    if file.suffix == ".whl":
        name, version, *_ = parse_wheel_filename(file.name)
    else:
        name, version = parse_sdist_filename(file.name)
    return str(name), str(version)
