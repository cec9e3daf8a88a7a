"""twine, uv, hatch, poetry and pdm publish files, the same files again, and other files
with the same names.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import PUBLISHERS, Publisher, published, refused

pytestmark = pytest.mark.parametrize("publish", PUBLISHERS)


def test_wheel_and_sdist(
    publish: Publisher, clients: Clients, package_index: PackageIndex, tmp_path: Path
) -> None:
    """A wheel and an sdist are on the page, and are downloaded byte for byte."""
    files = [packages.wheel(tmp_path / "dist"), packages.sdist(tmp_path / "dist")]

    published(publish(clients, package_index, files))

    assert sorted(package_index.filenames("hello-world")) == sorted(file.name for file in files)
    for file in files:
        assert package_index.get(f"hello-world/{file.name}").content == file.read_bytes()


@pytest.mark.parametrize(
    ("name", "version", "filename"),
    [
        pytest.param("Hello.World", "1.0", "hello_world-1.0-py3-none-any.whl", id="capitals-and-dot"),
        pytest.param(
            "hello-world", "1.0+local.1", "hello_world-1.0+local.1-py3-none-any.whl", id="local-version"
        ),
        pytest.param("hello-world", "1!2.0", "hello_world-1!2.0-py3-none-any.whl", id="epoch"),
    ],
)
def test_names_and_versions(
    publish: Publisher,
    clients: Clients,
    package_index: PackageIndex,
    tmp_path: Path,
    name: str,
    version: str,
    filename: str,
) -> None:
    """For any project name and version the file has its own name."""
    file = packages.wheel(tmp_path / "dist", name, version)

    published(publish(clients, package_index, [file]))

    [listed] = package_index.page("hello-world")["files"]
    assert listed["filename"] == file.name == filename
    assert listed["hashes"] == {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def test_platform_wheel(
    publish: Publisher, clients: Clients, package_index: PackageIndex, tmp_path: Path
) -> None:
    """A wheel of some MB for one platform is downloaded byte for byte."""
    file = packages.wheel(tmp_path / "dist", tag=packages.this_platform(), ballast=5_000_000)

    published(publish(clients, package_index, [file]))

    assert package_index.get(f"hello-world/{file.name}").content == file.read_bytes()


def test_identical_again(
    publish: Publisher, clients: Clients, package_index: PackageIndex, tmp_path: Path
) -> None:
    """Publishing the same files again succeeds, because somebody may repeat a release."""
    files = [packages.wheel(tmp_path / "dist"), packages.sdist(tmp_path / "dist")]
    published(publish(clients, package_index, files))

    published(publish(clients, package_index, files))

    assert len(package_index.filenames("hello-world")) == 2


def test_too_large(publish: Publisher, clients: Clients, small_index: PackageIndex, tmp_path: Path) -> None:
    """A file over PYOCI_MAX_BODY is refused, and the client shows the limit and the name of the setting."""
    file = packages.wheel(tmp_path / "dist", ballast=1_500_000)

    output = refused(publish(clients, small_index, [file]))

    assert "PYOCI_MAX_BODY" in output
    assert small_index.get("hello-world/").status_code == 404


def test_wrong_password(
    publish: Publisher, clients: Clients, guarded_index: PackageIndex, tmp_path: Path
) -> None:
    """A wrong password is refused with 401, and nothing is stored."""
    stranger = guarded_index.signed_in("writer", "wrong")

    output = refused(publish(clients, stranger, [packages.wheel(tmp_path / "dist")]))

    assert "401" in output or "invalid or missing authentication" in output.lower()
    assert guarded_index.get("hello-world/").status_code == 404


def test_right_password(
    publish: Publisher, clients: Clients, guarded_index: PackageIndex, tmp_path: Path
) -> None:
    """A caller with the right to write publishes; a caller without access sees nothing of it."""
    file = packages.wheel(tmp_path / "dist")

    published(publish(clients, guarded_index, [file]))

    assert guarded_index.filenames("hello-world") == [file.name]
    assert guarded_index.signed_in("writer", "wrong").get("hello-world/").status_code == 401
