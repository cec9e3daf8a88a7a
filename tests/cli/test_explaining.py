"""`pyoci explain`: what is served, what not, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from werkzeug.wrappers import Response

from pyoci.app import create_app
from pyoci.config import Settings
from tests.builders import make_wheel
from tests.cli.conftest import Run, WriteFile
from tests.serving import served
from tests.upstreams import PackageIndex, ago, package_index

OLD, NEW = "flask-3.0.0-py3-none-any.whl", "flask-3.1.0-py3-none-any.whl"


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    with package_index() as elsewhere:
        elsewhere.add_wheel("flask", "3.0.0")["yanked"] = "broken"
        elsewhere.add_wheel("flask", "3.1.0")["upload-time"] = ago(5)
        yield elsewhere


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text('[min-age]\nage = "7d"\n')
    return path


@pytest.fixture
def index(tmp_path: Path, elsewhere: PackageIndex, rules: Path) -> Iterator[str]:
    """The URL of an index with rules for what comes from upstream."""
    settings = Settings.from_environ(
        {
            "PYOCI_EMBEDDED": str(tmp_path / "registry"),
            "PYOCI_LOG": "off",
            "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
            "PYOCI_UPSTREAM_FILES": "proxy",
            "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files"),
            "PYOCI_UPSTREAM_RULES": str(rules),
        }
    )
    with served(create_app(settings, sleep=lambda _: None)) as url:
        yield f"{url}/local/acme/"


def test_what_is_served_and_what_not(run: Run, index: str) -> None:
    """With the rule, the reason, and when it will be served."""
    found = run("explain", index, "Flask", "--json").document
    assert (found["project"], found["origin"], found["mode"]) == ("flask", "upstream", "enforce")
    assert found["latest"] == "3.0.0"
    old, new = found["files"]
    assert (old["filename"], old["served"], old["rule"], old["yanked"]) == (OLD, True, None, True)
    assert (new["filename"], new["served"], new["rule"]) == (NEW, False, "min-age")
    assert "less than 7d ago" in new["reason"]
    assert datetime.fromisoformat(new["until"]) > datetime.now(UTC) + timedelta(days=6)
    assert new["sha256"]
    assert new["version"] == "3.1.0"


def test_for_people(run: Run, index: str) -> None:
    """A table with withheld files first, and what a client would take."""
    ran = run("explain", index, "flask")
    assert ran.code == 0
    new, old = ran.stdout.splitlines()[1:]
    assert old.split()[0] == OLD
    assert old.endswith("served    yanked: broken")
    assert new.split()[0] == NEW
    assert "withheld  min-age: it was uploaded less than 7d ago" in new
    assert ran.stderr.strip() == "3.0.0 is the newest version from upstream; rules are enforced"


@pytest.mark.parametrize(
    ("requirement", "files"),
    [("flask>=3.1", [NEW]), ("flask<3.1", [OLD]), ("flask[async]==3.*; python_version<'3'", [OLD, NEW])],
)
def test_a_version_specifier(run: Run, index: str, requirement: str, files: list[str]) -> None:
    """It counts for what is withheld, too. Extras and markers are ignored."""
    found = run("explain", index, requirement, "--json").document
    assert [file["filename"] for file in found["files"]] == files


def test_nothing_is_served(run: Run, index: str, rules: Path) -> None:
    """It is no error: the index says why."""
    rules.write_text('[[block]]\nprojects = ["flask"]\nreason = "We use quart"\n')
    ran = run("explain", index, "flask")
    assert (ran.code, ran.stdout.count("blocked: We use quart")) == (0, 2)
    assert ran.stderr.startswith("nothing is served")


def test_a_quarantined_project(run: Run, index: str, elsewhere: PackageIndex) -> None:
    """The reason stands there also if upstream's page lists no files."""
    elsewhere.keys = {"project-status": {"status": "quarantined", "reason": "taken over"}}
    elsewhere.projects["flask"].clear()
    found = run("explain", index, "flask", "--json").document
    assert (found["files"], found["latest"]) == ([], None)
    assert found["quarantine"] == "the upstream package index has quarantined the project (taken over)"
    assert "has quarantined the project (taken over)" in run("explain", index, "flask").stderr


def test_a_report(run: Run, index: str, rules: Path) -> None:
    """Files are served, with the rule that would withhold them."""
    rules.write_text('mode = "report"\n[min-age]\nage = "7d"\n')
    found = run("explain", index, "flask==3.1.0", "--json").document
    assert found["mode"] == "report"
    assert [(file["served"], file["rule"]) for file in found["files"]] == [(True, "min-age")]
    assert "would be withheld  min-age" in run("explain", index, "flask").stdout


def test_private_projects(run: Run, index: str, write: WriteFile, tmp_path: Path) -> None:
    """No rules concern them, at a server and straight in the registry."""
    assert run("publish", index, write(make_wheel("greeting"))).code == 0
    found = run("explain", index, "greeting", "--json").document
    assert (found["origin"], found["mode"]) == ("registry", None)
    assert [(file["served"], file["rule"]) for file in found["files"]] == [(True, None)]
    straight = run("explain", f"{index.removesuffix('local/acme/')}acme", "greeting", "--json").document
    assert (straight["origin"], straight["files"]) == ("registry", found["files"])


@pytest.mark.parametrize(
    ("requirement", "code", "message"),
    [
        ("flask 3", 2, "'flask 3' is no requirement; expected a project"),
        ("flask @ https://example.com/flask.whl", 2, "is no requirement"),
        ("", 2, "is no requirement"),
        ("absent", 4, "no project absent"),
        ("flask>=9", 4, "flask has no version >=9"),
    ],
)
def test_what_can_not_be_explained(run: Run, index: str, requirement: str, code: int, message: str) -> None:
    """One sentence says why."""
    ran = run("explain", index, requirement)
    assert (ran.code, message in ran.stderr, ran.stdout) == (code, True, "")


def test_another_server(run: Run, index: str, elsewhere: PackageIndex) -> None:
    """A server that knows no rules, or says nonsense about them, serves what its page has."""
    [old, _] = elsewhere.projects["flask"]
    page = {"meta": {"api-version": "1.4"}, "name": "flask", "files": [old], "_rules": 5}
    nonsense: list[object] = [5, [{"filename": 1}, "x", {**old, "_rule": 7, "_until": "soon"}]]
    for withheld in (None, *nonsense):
        body = {**page, "_withheld": withheld}
        with served(Answering(body)) as url:
            found = run("explain", f"{url}/acme/", "flask", "--json").document
            assert (found["origin"], found["mode"]) == (None, None)
            assert [file["filename"] for file in found["files"]] == [OLD]


class Answering:
    """A server that looks like PyOCI, and has one page."""

    def __init__(self, page: object) -> None:
        self._page = page

    def __call__(self, environ: dict[str, str], start_response: object) -> object:
        kind = "application/vnd.pypi.simple.v1+json"
        projects = {"meta": {"api-version": "1.4"}, "projects": [{"name": "flask"}]}
        body = self._page if environ["PATH_INFO"].endswith("/flask/") else projects
        response = Response(json.dumps(body), content_type=kind)
        return response(environ, start_response)  # type: ignore[arg-type]
