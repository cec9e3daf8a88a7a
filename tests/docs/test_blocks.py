"""What the documents show can be used: commands are run by a test or say why not, and data can be parsed."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from pyoci.upstream.rules_file import Circumstances, read_rules
from tests.docs.blocks import Block, all_blocks
from tests.live.test_documents import PROGRAMS

BLOCKS = list(all_blocks())
LANGUAGES = {"", "sh", "ini", "toml", "json", "yaml", "text", "python", "docker"}


def test_each_page_with_commands_has_a_reader() -> None:
    """A new page is run too."""
    assert {block.page for block in BLOCKS if block.runs} == set(PROGRAMS)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_says_what_it_is(block: Block) -> None:
    """Its language is one of a few; commands that aren't run have a reason of some words."""
    assert block.language in LANGUAGES
    assert not block.reason or len(block.reason.split()) > 2


@pytest.mark.parametrize(
    "block", [each for each in BLOCKS if each.language in {"json", "toml", "yaml", "ini"}], ids=str
)
def test_data_can_be_parsed(block: Block) -> None:
    """By the standard library's parsers, and PyYAML's."""
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "yaml":
        assert yaml.safe_load(block.text)
    else:
        configparser.ConfigParser(interpolation=None).read_string(block.text)


def test_rules_can_be_read() -> None:
    """The example of docs/upstream.rst has every key."""
    [text] = [block.text for block in BLOCKS if "[min-age]" in block.text]
    rules = read_rules(text, Circumstances(has_malware=True))
    assert rules.min_age is not None
    assert (len(rules.block), len(rules.allow), rules.enforced) == (2, 1, True)


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.schema], ids=str)
def test_data_for_others_follows_their_schema(block: Block, tmp_path: Path) -> None:
    """Workflows of GitHub and GitLab, Dependabot's and Renovate's files are what these services take."""
    file = tmp_path / f"file.{block.language}"
    file.write_text(block.text)
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        f"vendor.{block.schema}",
        "--regex-variant",  # a pattern in the schema of Azure Pipelines isn't valid with the unicode flag
        "nonunicode",
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
