"""A different file under an existing name: a 409, whose text the client shows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import PUBLISHERS, Publisher, hatch, published, refused, uv


@pytest.fixture
def rivals(tmp_path: Path) -> tuple[Path, Path]:
    """Two wheels of one name and different content."""
    return packages.wheel(tmp_path / "first", text="one"), packages.wheel(tmp_path / "second", text="two")


@pytest.mark.live("uv")
@pytest.mark.parametrize("publish", [each for each in PUBLISHERS if each.id != "hatch"])
def test_other_content(
    publish: Publisher, clients: Clients, package_index: PackageIndex, rivals: tuple[Path, Path]
) -> None:
    """The client shows which file exists, and the first one stays."""
    first, second = rivals
    published(uv(clients, package_index, [first]))

    output = refused(publish(clients, package_index, [second]))

    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    shown = " ".join(output.split())  # twine wraps what it prints
    assert f"File already exists ('{first.name}', with sha256 hash '{digest}')" in shown
    assert package_index.get(f"hello-world/{first.name}").content == first.read_bytes()


@pytest.mark.live("uv", "hatch")
def test_hatch_leaves_out_what_is_there(
    clients: Clients, package_index: PackageIndex, rivals: tuple[Path, Path]
) -> None:
    """hatch reads the page first and skips a file that is on it. It says so, and the first file stays."""
    first, second = rivals
    published(uv(clients, package_index, [first]))

    output = published(hatch(clients, package_index, [second]))

    assert "already exists" in output
    assert package_index.get(f"hello-world/{first.name}").content == first.read_bytes()


@pytest.mark.live("uv")
def test_check_url(clients: Clients, package_index: PackageIndex, rivals: tuple[Path, Path]) -> None:
    """`uv publish --check-url` reads the page: it skips a file that is there, not one that differs."""
    first, second = rivals
    published(uv(clients, package_index, [first], "--check-url", package_index.url_with_credentials))

    again = published(uv(clients, package_index, [first], "--check-url", package_index.url_with_credentials))
    other = refused(uv(clients, package_index, [second], "--check-url", package_index.url_with_credentials))

    assert "already exists" in again
    assert "Local file and index file do not match" in other
