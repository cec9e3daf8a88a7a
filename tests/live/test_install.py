"""pip and uv install published packages, without any other package index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients, Outcome
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, refused, uv

Installer = Callable[..., Outcome]


def pip_install(clients: Clients, index: PackageIndex, python: Path, *arguments: object) -> Outcome:
    """`pip install` into the environment of `python`."""
    return clients.attempt(
        "pip", "--python", python, "install", "--index-url", index.url_with_credentials, *arguments
    )


def uv_install(clients: Clients, index: PackageIndex, python: Path, *arguments: object) -> Outcome:
    """`uv pip install` into the environment of `python`."""
    where = ("--python", python, "--index-url", index.url_with_credentials)
    return clients.attempt("uv", "pip", "install", *where, *arguments)


pytestmark = [
    pytest.mark.live("uv"),
    pytest.mark.parametrize(
        "install",
        [
            pytest.param(pip_install, id="pip", marks=pytest.mark.live("pip")),
            pytest.param(uv_install, id="uv", marks=pytest.mark.live("uv")),
        ],
    ),
]


@pytest.fixture
def python(clients: Clients) -> Path:
    """The interpreter of an environment where nothing is installed."""
    return clients.new_environment("environment")


def test_wheel(
    install: Installer, clients: Clients, package_index: PackageIndex, python: Path, tmp_path: Path
) -> None:
    """A wheel is installed and its module can be imported."""
    published(uv(clients, package_index, [packages.wheel(tmp_path, text="from a wheel")]))

    published(install(clients, package_index, python, "hello-world"))

    assert clients.installed(python) == ["hello-world==1.0"]
    assert "from a wheel" in (clients.modules(python) / "hello_world.py").read_text()


def test_sdist(
    install: Installer, clients: Clients, package_index: PackageIndex, python: Path, tmp_path: Path
) -> None:
    """A project that has only an sdist is built and installed."""
    published(uv(clients, package_index, [packages.sdist(tmp_path, text="from an sdist")]))

    published(install(clients, package_index, python, "hello-world"))

    assert clients.installed(python) == ["hello-world==1.0"]
    assert "from an sdist" in (clients.modules(python) / "hello_world.py").read_text()


@pytest.mark.parametrize("ending", [".tar.bz2", ".tgz"])
def test_old_sdist(
    install: Installer,
    clients: Clients,
    package_index: PackageIndex,
    python: Path,
    tmp_path: Path,
    ending: str,
) -> None:
    """The kinds that PyPI serves and takes no more. Today's clients upload none, so the form is posted. uv
    installs none since 0.12, and says why.
    """
    package_index.upload(packages.sdist(tmp_path, text="from an old sdist", ending=ending))

    outcome = install(clients, package_index, python, "hello-world")

    if install is uv_install:
        assert "PEP 625" in refused(outcome)
        return
    published(outcome)
    assert clients.installed(python) == ["hello-world==1.0"]
    assert "from an old sdist" in (clients.modules(python) / "hello_world.py").read_text()


def test_platform_wheel(
    install: Installer, clients: Clients, package_index: PackageIndex, python: Path, tmp_path: Path
) -> None:
    """The wheel of this platform is preferred to the one for any, and all its bytes arrive."""
    files = [
        packages.wheel(tmp_path),
        packages.wheel(tmp_path, tag=packages.this_platform(), text="for this platform", ballast=5_000_000),
    ]
    published(uv(clients, package_index, files))

    published(install(clients, package_index, python, "hello-world"))

    installed = next(python.parent.parent.glob("lib*/python*/site-packages/hello_world.bin"))
    assert installed.stat().st_size == 5_000_000


@pytest.mark.parametrize(
    ("name", "version", "asked", "frozen"),
    [
        pytest.param("Hello.World", "1.0", "Hello.World", "Hello.World==1.0", id="capitals-and-dot"),
        pytest.param("Hello.World", "1.0", "hello_world", "Hello.World==1.0", id="spelled-otherwise"),
        pytest.param(
            "hello-world",
            "1.0+local.1",
            "hello-world==1.0+local.1",
            "hello-world==1.0+local.1",
            id="local-version",
        ),
        pytest.param("hello-world", "1!2.0", "hello-world>=1!1", "hello-world==1!2.0", id="epoch"),
    ],
)
def test_names_and_versions(
    install: Installer,
    clients: Clients,
    package_index: PackageIndex,
    python: Path,
    tmp_path: Path,
    name: str,
    version: str,
    asked: str,
    frozen: str,
) -> None:
    """Projects with capitals and dots, local versions and epochs are found and installed."""
    published(uv(clients, package_index, [packages.wheel(tmp_path, name, version)]))

    published(install(clients, package_index, python, asked))

    assert clients.installed(python) == [frozen]


def test_newest_version(
    install: Installer, clients: Clients, package_index: PackageIndex, python: Path, tmp_path: Path
) -> None:
    """By PEP 440, not by the alphabet."""
    versions = ("1.9", "1.10", "1.2", "2.0rc1")
    published(uv(clients, package_index, [packages.wheel(tmp_path, version=each) for each in versions]))

    published(install(clients, package_index, python, "hello-world"))

    assert clients.installed(python) == ["hello-world==1.10"]


def test_private_dependency(
    install: Installer, clients: Clients, package_index: PackageIndex, python: Path, tmp_path: Path
) -> None:
    """A private package's private dependency is installed, too."""
    files = [
        packages.wheel(tmp_path, requires=("Acme.Greeting >=2",)),
        packages.wheel(tmp_path, "Acme.Greeting", "1.0"),
        packages.wheel(tmp_path, "Acme.Greeting", "2.1"),
    ]
    published(uv(clients, package_index, files))

    published(install(clients, package_index, python, "hello-world"))

    assert clients.installed(python) == ["Acme.Greeting==2.1", "hello-world==1.0"]


def test_require_hashes(
    install: Installer, clients: Clients, package_index: PackageIndex, python: Path, tmp_path: Path
) -> None:
    """A requirement with a hash installs the file that has it; with another hash it is refused."""
    file = packages.wheel(tmp_path)
    published(uv(clients, package_index, [file]))
    right, wrong = tmp_path / "right.txt", tmp_path / "wrong.txt"
    right.write_text(f"hello-world==1.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n")
    wrong.write_text(f"hello-world==1.0 --hash=sha256:{'0' * 64}\n")

    refusal = install(clients, package_index, python, "--require-hashes", "-r", wrong)
    acceptance = install(clients, package_index, python, "--require-hashes", "-r", right)

    assert refusal.code != 0
    assert "hash" in refusal.output.lower()
    published(acceptance)
    assert clients.installed(python) == ["hello-world==1.0"]


@pytest.mark.parametrize("yanked", ["hello-world/1.1", "hello-world/hello_world-1.1-py3-none-any.whl"])
def test_yanked_version(
    install: Installer,
    clients: Clients,
    package_index: PackageIndex,
    python: Path,
    tmp_path: Path,
    yanked: str,
) -> None:
    """A yanked version, or file, is skipped by a range and installed by an exact pin (PEP 592)."""
    files = [packages.wheel(tmp_path, version="1.0"), packages.wheel(tmp_path, version="1.1")]
    published(uv(clients, package_index, files))
    package_index.yank(yanked, "wrong on Tuesdays")

    published(install(clients, package_index, python, "hello-world>=1"))
    by_range = clients.installed(python)
    by_pin = published(install(clients, package_index, python, "hello-world==1.1"))

    assert by_range == ["hello-world==1.0"]
    assert clients.installed(python) == ["hello-world==1.1"]
    assert "wrong on Tuesdays" in by_pin


def test_unknown_project(
    install: Installer, clients: Clients, package_index: PackageIndex, python: Path
) -> None:
    """It is reported as missing within seconds."""
    outcome = install(clients, package_index, python, "nobody-wrote-this")

    assert outcome.code != 0
    assert "nobody-wrote-this" in outcome.output


def test_wrong_password(
    install: Installer, clients: Clients, guarded_index: PackageIndex, python: Path, tmp_path: Path
) -> None:
    """With a wrong password nothing is installed; with the right one it is."""
    published(uv(clients, guarded_index, [packages.wheel(tmp_path)]))

    refusal = install(clients, guarded_index.signed_in("writer", "wrong"), python, "hello-world")
    published(install(clients, guarded_index, python, "hello-world"))

    assert refusal.code != 0
    assert clients.installed(python) == ["hello-world==1.0"]
