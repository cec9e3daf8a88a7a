"""docs/settings.rst: every variable that is read, its true default, as pyoci/config has it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pyoci.config import Settings
from pyoci.config.client import COMMAND
from pyoci.config.environment import Variable
from pyoci.config.settings import TOPICS
from pyoci.library import credentials
from tests.docs.pages import by_docutils

ROOT = Path(__file__).parents[2]
VARIABLES = [variable for topic in TOPICS for variable in topic.variables]
DOCUMENTED = {name for variable in VARIABLES for name in variable.names}
# gunicorn's own and glibc's, which pyoci.server and pyoci.heap read past Settings.
ELSEWHERE = {"FORWARDED_ALLOW_IPS", "MALLOC_ARENA_MAX"}


class Witness(Mapping[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name.upper())
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_each_variable_that_is_read_is_described_and_no_other() -> None:
    """Settings asks its environment for exactly these, and for some of OpenTelemetry's own."""
    witness = Witness()
    Settings.from_environ(witness)
    ours = {name for name in witness.asked if not name.startswith("OTEL_")}
    assert ours | ELSEWHERE == DOCUMENTED


def test_gunicorns_configuration_reads_nothing_else() -> None:
    """What pyoci.server takes from the environment itself is described too."""
    tree = ast.parse((ROOT / "pyoci" / "server.py").read_text())
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    names = {text for text in texts if isinstance(text, str) and re.fullmatch(r"[A-Z]+(_[A-Z]+)+", text)}
    assert names <= DOCUMENTED


def test_each_login_that_the_command_reads_is_described_and_no_other() -> None:
    """The four variables of pyoci.library.credentials are not among the server's settings."""
    read = {
        credentials.USERNAME,
        credentials.PASSWORD,
        credentials.SOURCE_USERNAME,
        credentials.SOURCE_PASSWORD,
    }
    assert {name for variable in COMMAND.variables for name in variable.names} == read
    assert DOCUMENTED.isdisjoint(read)


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.names[0])
def test_its_default_changes_nothing(variable: Variable) -> None:
    """To set what is written there is to leave it unset."""
    first = variable.names[0]
    assert Settings.from_environ({first: variable.default}) == Settings.from_environ({})


@pytest.mark.parametrize("variable", [*VARIABLES, *COMMAND.variables], ids=lambda variable: variable.names[0])
class TestVariable:
    def test_each_of_its_names_has_an_anchor(self, variable: Variable) -> None:
        """Other pages link to `settings.rst#pyoci-max-body`."""
        anchors = {name.lower().replace("_", "-") for name in variable.names}
        assert anchors <= by_docutils("docs/settings").anchors

    def test_it_is_described_in_sentences(self, variable: Variable) -> None:
        """The meaning ends with a full stop, and its lines fit."""
        assert variable.meaning.endswith(".")
        assert max(map(len, variable.meaning.splitlines())) <= 112


def test_no_variable_is_described_twice() -> None:
    """Each has one place."""
    assert len(DOCUMENTED) == sum(len(variable.names) for variable in VARIABLES)


def test_the_page_is_up_to_date() -> None:
    """docs/settings.rst is what docs/settings.py writes; `make docs` brings it up to date."""
    script = "import runpy, sys; sys.stdout.write(runpy.run_path('docs/settings.py')['written']())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    assert done.stdout.decode() == (ROOT / "docs" / "settings.rst").read_text()
