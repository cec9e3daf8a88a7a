"""The conformance suite of OCI distribution, against the embedded registry under gunicorn.

Go fetches the suite as a module, newest version first, and builds it. Where that can't be had (a module proxy
need not have it), the test is skipped and says so; tests/embedded/test_registry.py does the same in Python.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.programs import find
from tests.live.servers import Port, Server, Servers, start_pyoci

pytestmark = [pytest.mark.live("go"), pytest.mark.timeout(600)]

_MODULE = "github.com/opencontainers/distribution-spec/conformance"
_TIMEOUT = 240  # seconds for each of fetching, building and running


def go(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Go in `folder`; the caller looks at the exit code."""
    program = find("go")
    assert program is not None
    environ = os.environ | {"GOFLAGS": "-mod=mod", "GOWORK": "off"}
    return subprocess.run(
        [program, *arguments],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's program. Its newest versions are a program of their own, the older ones a compiled test."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "go.mod").write_text("module conformance.invalid\n")
    fetched = go("mod", "download", "-json", f"{_MODULE}@latest", folder=folder)
    if fetched.returncode:
        reason = json.loads(fetched.stdout or "{}").get("Error") or fetched.stderr
        pytest.skip(f"Go can't fetch the conformance suite: {' '.join(reason.split())[:300]}")
    source = folder / "source"
    shutil.copytree(json.loads(fetched.stdout)["Dir"], source, copy_function=shutil.copyfile)
    source.chmod(0o755)  # the module cache is read-only
    program = folder / "conformance"
    how = ["build"] if (source / "main.go").exists() else ["test", "-c"]
    built = go(*how, "-o", str(program), ".", folder=source)
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture
def registry(servers: Servers, ports: Callable[[str], Port], tmp_path: Path) -> Server:
    """PyOCI with the embedded registry, open to this machine."""
    directory = str(tmp_path / "registry")
    return start_pyoci(servers, "conformance", ports("conformance"), PYOCI_EMBEDDED=directory)


def settings(registry: Server, results: Path) -> dict[str, str]:
    """All categories, in the words of the suite's newest versions and of its older ones."""
    old = {
        f"OCI_TEST_{category}": "1"
        for category in ("PULL", "PUSH", "CONTENT_DISCOVERY", "CONTENT_MANAGEMENT")
    }
    return old | {
        "OCI_REGISTRY": registry.url.removeprefix("http://"),
        "OCI_TLS": "disabled",
        "OCI_REPO1": "conformance/one",
        "OCI_REPO2": "conformance/two",
        "OCI_ROOT_URL": registry.url,
        "OCI_NAMESPACE": "conformance/one",
        "OCI_CROSSMOUNT_NAMESPACE": "conformance/two",
        "OCI_REPORT_DIR": str(results),
        "OCI_RESULTS_DIR": str(results),
    }


def test_every_category_passes(suite: Path, registry: Server, tmp_path: Path) -> None:
    """The suite succeeds, and its report has no failed test and some that passed."""
    results = tmp_path / "results"
    results.mkdir()
    environ = {"PATH": os.defpath, "HOME": str(tmp_path)} | settings(registry, results)
    ended = subprocess.run(
        [suite],
        cwd=results,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )
    assert ended.returncode == 0, ended.stdout[-10_000:] + ended.stderr[-2_000:]
    report = ElementTree.parse(next(results.rglob("junit.xml"))).getroot()
    counted = next(report.iter("testsuite")).attrib
    assert int(counted["tests"]) > 20
    assert int(counted.get("failures", 0)) == int(counted.get("errors", 0)) == 0
