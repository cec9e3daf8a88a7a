"""CONTRIBUTING, SECURITY and the forms for issues: what they name is there."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.docs.pages import ROOT, source

FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
_LITERAL = re.compile(r"``([^`]+)``")


@pytest.mark.parametrize("page", ["CONTRIBUTING", "SECURITY"])
def test_paths_are_there(page: str) -> None:
    """Files and folders of this repository."""
    named = _LITERAL.findall(source(page).read_text())
    paths = [each for each in named if re.fullmatch(r"[.\w-]+(/[.\w-]*)+|\w+\.rst", each)]
    assert page == "SECURITY" or len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_commands_are_there() -> None:
    """Targets of the Makefile, and modules that write documents."""
    named = _LITERAL.findall(source("CONTRIBUTING").read_text())
    targets = {each.split()[1] for each in named if each.startswith("make ")}
    assert len(targets) >= 5
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    written = [each.removeprefix("python ") for each in named if each.startswith("python ")]
    assert written
    assert [path for path in written if not (ROOT / path).is_file()] == []


def test_debian_packages_are_those_of_ci() -> None:
    """Those that .ci/run installs, by their names or as people call them."""
    installed = re.findall(r"missing\+=\(([\w-]+)\)", (ROOT / ".ci/run").read_text())
    text = " ".join(source("CONTRIBUTING").read_text().split())
    spelled = {"golang-go": "Go"}
    assert [name for name in installed if spelled.get(name, name) not in text] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_follow_the_schema(path: Path) -> None:
    """Those that check-jsonschema includes."""
    kind = "github-issue-config" if path.stem == "config" else "github-issue-forms"
    schemas = importlib.resources.files("check_jsonschema.builtin_schemas")
    schema = json.loads((schemas / "vendor" / f"{kind}.json").read_text())
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)
