"""Twenty real projects from PyPI are published, downloaded and installed unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import real_projects
from tests.live.clients import Clients
from tests.live.environments import Environments
from tests.live.indexes import PackageIndex

pytestmark = pytest.mark.live("pip", "uv", "twine")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[real_projects.RealFile, ...]:
    """One file of each project, from PyPI."""
    home = tmp_path_factory.mktemp("home")
    return real_projects.download(Clients(Environments(), home), tmp_path_factory.mktemp("files"))


def test_round_trip(
    clients: Clients, package_index: PackageIndex, files: tuple[real_projects.RealFile, ...], tmp_path: Path
) -> None:
    """Each file has the same hash, and `pip freeze` prints the same as for an installation from the files."""
    rows = real_projects.round_trip(clients, package_index, files)

    print(real_projects.HEADING, *rows, sep="\n")
    assert len(rows) == len(real_projects.PROJECTS)
    assert [str(row) for row in rows if not row.good] == []
