"""`pyoci mirror`: its output, its document and its exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pyoci.app import create_app
from pyoci.config import Settings
from pyoci.library import Basic
from tests.builders import make_sdist, make_wheel
from tests.cli.conftest import Run
from tests.serving import served
from tests.upstreams import PackageIndex, package_index

WHEEL, SDIST = make_wheel()[0], make_sdist()[0]
LINUX, WINDOWS = "cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-win_amd64"


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    with package_index() as found:
        found.add(*make_wheel())
        found.add(*make_sdist())
        found.add(*make_wheel("crunch", "2.0", LINUX))
        found.add(*make_wheel("crunch", "2.0", WINDOWS))
        yield found


@pytest.fixture
def source(elsewhere: PackageIndex) -> tuple[str, str]:
    return "--source", elsewhere.simple


def test_document(run: Run, server: str, source: tuple[str, str], elsewhere: PackageIndex) -> None:
    """A second run finds everything there."""
    index = f"{server}/acme"
    options = ("--project", "hello-world", "--project", "crunch", "--platform", "win_amd64", "--no-sdists")
    ran = run("mirror", index, *options, *source, "--json")
    assert ran.code == 0, ran.stderr
    assert {ran.document["index"].removeprefix("http://"), ran.document["source"]} == {
        index.removeprefix("http://"),
        elsewhere.simple,
    }
    sizes = {each["filename"]: each["size"] for each in ran.document["files"]}
    assert sizes == {
        f"crunch-2.0-{WINDOWS}.whl": len(elsewhere.content(f"crunch-2.0-{WINDOWS}.whl")),
        WHEEL: len(elsewhere.content(WHEEL)),
    }
    assert {each["outcome"] for each in ran.document["files"]} == {"stored"}
    again = run("mirror", index, *options, *source)
    assert again.stdout == "0 files stored, 2 were there already; 0 bytes fetched\n"


def test_partly(run: Run, server: str, source: tuple[str, str], tmp_path: Path) -> None:
    """What can't be copied is named with its reason, and so is what is left out. The exit code is 1."""
    lock = tmp_path / "requirements.txt"
    lock.write_text("hello-world==1.0\nabsent==1.0\nsecret==1.0\nx @ https://files.example/x.zip\n")
    ran = run("mirror", f"{server}/acme", "--lock", lock, "--any-index", "--python", "3.12", *source)
    assert ran.code == 1
    lines = ran.stdout.splitlines()
    assert any(line.startswith("absent  failed") for line in lines)
    assert any(line.startswith("x       left out") and "not from a package index" in line for line in lines)
    assert lines[-1].startswith("2 files stored, 0 were there already, 1 left out, 2 failed; ")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--lock", "absent.lock"], "absent.lock can't be read: No such file or directory"),
        ([], "nothing is chosen; expected lock files or projects"),
        (["--project", "flask"], "expected --source or PYOCI_UPSTREAM_INDEX"),
        (["--project", "flask; x"], "is not a requirement"),
        (["--project", "x", "--platform", "Linux!"], "'Linux!' is not a platform"),
        (["--project", "x", "--python", "three"], "'three' is not a version of Python"),
        (["--project", "x", "--newest", "0"], "0 is not in the range x>=1"),
        (["--project", "x", "--newest", "2", "--all-versions"], "exclude each other"),
    ],
)
def test_wrong_usage(run: Run, server: str, options: list[str], sentence: str) -> None:
    ran = run("mirror", f"{server}/acme", *options)
    assert ran.code == 2
    assert sentence in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_behind_a_server(run: Run, server: str, source: tuple[str, str]) -> None:
    """A server takes no upload times and no yanks."""
    ran = run("mirror", f"{server}/local/acme/", "--project", "hello-world", *source)
    assert ran.code == 1
    assert "mirroring needs the registry" in ran.stderr


def test_credentials(
    run: Run,
    source: tuple[str, str],
    elsewhere: PackageIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The login of the target never goes to the source, and that of the source never to the target."""
    settings = Settings.from_environ({"PYOCI_EMBEDDED": str(tmp_path / "guarded"), "PYOCI_LOG": "off"})
    application, heard = create_app(settings, sleep=lambda _: None), set()

    def guarded(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        heard.add(environ.get("HTTP_AUTHORIZATION"))
        if "HTTP_AUTHORIZATION" in environ or not environ["PATH_INFO"].startswith("/v2/"):
            return application(dict(environ), start_response)
        headers = {"Content-Length": "0", "WWW-Authenticate": 'Basic realm="guarded"'}
        headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        start_response("401 Unauthorized", list(headers.items()))
        return []

    for name, value in {"USERNAME": "target", "SOURCE_USERNAME": "source"}.items():
        monkeypatch.setenv(f"PYOCI_{name}", value)
        monkeypatch.setenv(f"PYOCI_{name.replace('USERNAME', 'PASSWORD')}", "secret-word")
    with served(guarded) as url:
        ran = run("mirror", f"{url}/acme", "--project", "hello-world", *source, "--json")
    assert ran.code == 0, ran.stderr
    assert {each["outcome"] for each in ran.document["files"]} == {"stored"}
    assert heard == {None, Basic("target", "secret-word").header()}
    asked = {each.headers.get("Authorization") for each in elsewhere.requests}
    assert asked == {Basic("source", "secret-word").header()}
    assert "secret-word" not in ran.stdout + ran.stderr
