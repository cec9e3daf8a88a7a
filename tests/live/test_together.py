"""Many uploads at once: a release with a build matrix, in which each job has its own file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv

pytestmark = pytest.mark.live("uv")


def test_files_of_one_version(clients: Clients, package_index: PackageIndex, tmp_path: Path) -> None:
    """Twelve jobs publish one file each of a new version, through two workers: no file is lost."""
    tags = [f"py3-none-manylinux_2_{minor}_x86_64" for minor in range(5, 17)]
    files = [packages.wheel(tmp_path, tag=tag) for tag in tags]

    with ThreadPoolExecutor(len(files)) as jobs:
        outcomes = list(jobs.map(lambda file: uv(clients, package_index, [file]), files))

    for outcome in outcomes:
        published(outcome)
    assert sorted(package_index.filenames("hello-world")) == sorted(file.name for file in files)


def test_one_name_for_two_contents(clients: Clients, package_index: PackageIndex, tmp_path: Path) -> None:
    """Six jobs publish different files of one name: one is stored, and only its job gets a success."""
    files = [packages.wheel(tmp_path / str(number), text=f"number {number}") for number in range(6)]

    with ThreadPoolExecutor(len(files)) as jobs:
        outcomes = list(jobs.map(lambda file: uv(clients, package_index, [file]), files))

    stored = package_index.get(f"hello-world/{files[0].name}").content
    winners = [file for file, outcome in zip(files, outcomes, strict=True) if outcome.code == 0]
    assert [file.read_bytes() for file in winners] == [stored]
    refusals = [outcome.output for outcome in outcomes if outcome.code != 0]
    assert all("File already exists" in refusal for refusal in refusals)
