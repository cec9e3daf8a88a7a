"""The workflows on GitHub: by their schema, and as far as their steps can run elsewhere."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import pyoci

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(name: str) -> list[dict[str, Any]]:
    """All steps of a workflow."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
class TestEach:
    def test_follows_the_schema(self, path: Path) -> None:
        schemas = importlib.resources.files("check_jsonschema.builtin_schemas")
        schema = json.loads((schemas / "vendor" / "github-workflows.json").read_text())
        workflow = yaml.safe_load(path.read_text())
        workflow["on"] = workflow.pop(True)  # YAML 1.1 reads the word as a boolean
        jsonschema.validate(workflow, schema)

    def test_actions_are_pinned(self, path: Path) -> None:
        """To a commit: a tag can be moved."""
        used = [step["uses"] for step in steps(path.name) if "uses" in step]
        assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []

    def test_no_token_is_left_in_the_checkout(self, path: Path) -> None:
        checkouts = [
            step for step in steps(path.name) if step.get("uses", "").startswith("actions/checkout@")
        ]
        assert checkouts
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize(("tag", "is_released"), [(f"v{pyoci.__version__}", True), ("v99.0", False)])
def test_the_tag_is_the_version(tag: str, is_released: bool) -> None:
    """A tag that isn't the version of package and chart is not released."""
    [step] = [step for step in steps("release.yml") if step.get("name") == "The tag is the version"]
    environ = {"PATH": os.environ["PATH"], "GITHUB_REF_NAME": tag}
    done = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=ROOT, env=environ, timeout=60, check=False)
    assert (done.returncode == 0) is is_released
