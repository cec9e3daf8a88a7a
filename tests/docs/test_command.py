"""docs/command.rst is what the command is, and the code in docs/library.rst runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyoci
from pyoci.app import create_app
from pyoci.cli.commands import VERBS
from pyoci.config import Settings
from tests.builders import make_wheel
from tests.docs.blocks import blocks
from tests.docs.pages import by_docutils, source
from tests.serving import served

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    """docs/command.rst is what docs/command.py writes."""
    script = "import runpy, sys; sys.stdout.write(runpy.run_path('docs/command.py')['written']())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    assert done.stdout.decode() == (ROOT / "docs" / "command.rst").read_text()


def test_each_verb_has_an_anchor() -> None:
    """Other pages link to `command.rst#pyoci-publish`."""
    assert {f"pyoci-{name}" for name in VERBS} <= by_docutils("docs/command").anchors


def test_the_code_of_the_library_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Block after block in one program, against a registry of the test in place of ghcr.io."""
    (tmp_path / "dist").mkdir()
    for version in ("1.0", "2.0"):
        name, content = make_wheel(version=version)
        (tmp_path / "dist" / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings.from_environ({"PYOCI_EMBEDDED": str(tmp_path / "registry"), "PYOCI_LOG": "off"})
    code = [block.text for block in blocks("docs/library") if block.language == "python"]
    namespace: dict[str, object] = {}
    with served(create_app(settings)) as url:
        for text in code:
            exec(compile(text.replace("ghcr.io/acme", f"{url}/acme"), "library.rst", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "('1.0', '2.0') 2.0\n" in printed
    assert "there is no project no-such-project here" in printed
    assert "hello-world 1.0 copied" in printed
    downloaded = tmp_path / "hello_world-1.0-py3-none-any.whl"
    assert downloaded.read_bytes() == (tmp_path / "dist" / downloaded.name).read_bytes()


def test_the_names_of_the_library_exist() -> None:
    """Each `pyoci.name` in the text of docs/library.rst is one of the package."""
    text = source("docs/library").read_text()
    names = set(re.findall(r"``pyoci\.(\w+)", text))
    assert {name for name in names if not hasattr(pyoci, name)} == set()
    assert {"explain", "open_source"} <= names
