"""`pyoci doctor`: what a registry can do, and what that means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from pyoci.embedded import Htpasswd, create_registry_app
from pyoci.library import Basic, open_index
from pyoci.library.doctor import examine
from tests.cli.conftest import Run
from tests.clock import Clock
from tests.serving import served

READING = [
    "reachable",
    "authentication",
    "caller",
    "reading",
    "catalogue",
    "pagination",
    "referrers",
    "publishing",
]
WRITING = ["writing", "lag", "redirects", "mounting", "deleting"]


def outcomes(document: Any) -> dict[str, str]:
    return {each["check"]: each["outcome"] for each in document["findings"]}


def tags_in(folder: Path) -> list[Path]:
    """What is stored under a tag in the embedded registry: its layouts name them in index.json."""
    return [path for path in folder.rglob("index.json") if "examined" in path.read_text()]


def test_a_registry_is_examined_without_writing(run: Run, server: str, tmp_path: Path) -> None:
    """Every finding has an answer and a meaning; nothing is stored."""
    before = {path for path in (tmp_path / "registry").rglob("*") if path.is_file()}
    done = run("doctor", f"{server}/acme", "--json")
    assert done.code == 0
    assert list(outcomes(done.document)) == READING
    assert all(each["answer"] and each["meaning"] for each in done.document["findings"])
    assert "bad" not in outcomes(done.document).values()
    answers = {each["check"]: each["answer"] for each in done.document["findings"]}
    assert re.fullmatch(r"repositories: \d+, of this namespace: \d+", answers["catalogue"])
    assert {path for path in (tmp_path / "registry").rglob("*") if path.is_file()} == before


def test_what_is_written_is_removed_again(run: Run, server: str, tmp_path: Path) -> None:
    """From a repository of its own. The embedded registry has all operations."""
    done = run("doctor", f"{server}/acme", "--write", "--json")
    assert done.code == 0
    assert list(outcomes(done.document)) == READING + WRITING
    assert {outcomes(done.document)[check] for check in WRITING} == {"good"}
    found = {each["check"]: each["answer"] for each in done.document["findings"]}
    assert re.fullmatch(r"acme/pyoci-doctor-[0-9a-f]{8}", found["writing"])
    assert tags_in(tmp_path) == []


def test_people_get_a_table(run: Run, server: str) -> None:
    """A line for each check."""
    lines = run("doctor", f"{server}/acme").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["CHECK", *READING]


def test_a_server_is_no_registry(run: Run, server: str) -> None:
    """Its registry has to be asked itself."""
    done = run("doctor", f"{server}/local/acme/")
    assert done.code == 1
    assert "this is no registry; expected <registry>/<namespace>" in done.stderr


def test_a_registry_that_is_not_there(run: Run) -> None:
    """One finding says so, and nothing else is asked."""
    done = run("doctor", "registry.invalid:5000/acme", "--json")
    assert done.code == 1
    assert outcomes(done.document) == {"reachable": "bad"}


@pytest.fixture
def guarded(tmp_path: Path) -> Any:
    """The URL of a registry that needs a password."""
    accounts = tmp_path / "accounts"
    accounts.write_text(f"me:{bcrypt.hashpw(b'secret-word', bcrypt.gensalt(4)).decode()}\n")
    app = create_registry_app(tmp_path / "guarded", htpasswd=Htpasswd(accounts), local_only=False)
    with served(app) as url:
        yield url


def test_a_caller_without_a_password(run: Run, guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyOCI can't read there, which is exit code 1; with the password it can."""
    refused = run("doctor", f"{guarded}/acme", "--write", "--json")
    assert refused.code == 1
    found = outcomes(refused.document)
    assert (found["reachable"], found["reading"], found["writing"]) == ("good", "bad", "bad")
    monkeypatch.setenv("PYOCI_USERNAME", "me")
    monkeypatch.setenv("PYOCI_PASSWORD", "secret-word")
    done = run("doctor", f"{guarded}/acme", "--write", "--json")
    assert done.code == 0
    answers = {each["check"]: each["answer"] for each in done.document["findings"]}
    assert (answers["authentication"], answers["caller"]) == ("passwords", "me")
    assert "secret-word" not in done.stdout


def test_what_was_written_goes_also_when_the_run_ends_early(guarded: str, tmp_path: Path) -> None:
    """As with Ctrl-C after the manifest was stored."""
    clock = Clock()
    with open_index(f"{guarded}/acme", Basic("me", "secret-word"), environ={"HOME": str(tmp_path)}) as index:
        findings = examine(index, write=True, clock=clock, sleep=clock.sleep)
        seen = next(each for each in findings if each.check == "writing")
        assert seen.outcome == "good"
        assert tags_in(tmp_path) != []
        findings.close()
    assert tags_in(tmp_path) == []
