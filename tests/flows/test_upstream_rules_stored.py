"""Rules for copies of upstream's files that are stored: while upstream is there, down, and offline."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.wrappers import Response

from tests.flows.conftest import MakeClient
from tests.flows.test_main_job import JSON, upload
from tests.flows.test_upstream_store import FLASK, PAGE, SDIST, URL, elsewhere, fill, forget, get, storing
from tests.upstream.test_osv_dump import affected, write
from tests.upstreams import PackageIndex

__all__ = ["elsewhere", "storing"]

RULES = {
    "blocked": '[[block]]\nprojects = ["flask"]\nkinds = ["wheel"]\nreason = "no"',
    "not-allowed": '[[allow]]\nprojects = ["flask"]\nkinds = ["sdist"]\nreason = "no"',
    "min-age": '[min-age]\nage = "520w"\nexcept = ["other"]',
    "malware": "",
}


@pytest.fixture
def rules(tmp_path: Path, storing: dict[str, str]) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text("")
    storing["PYOCI_UPSTREAM_RULES"] = str(path)
    return path


def apply(rule: str, rules: Path, folder: Path) -> dict[str, str]:
    """Write a rule for flask, in `rules` or as a database below `folder`; returns further settings for it."""
    rules.write_text(RULES[rule])
    if rule != "malware":
        return {}
    write(folder / "osv", "MAL-2026-1", affected("flask", versions=["3.1.0"]))
    return {"PYOCI_OSV_DUMP": str(folder / "osv")}


def states(make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex) -> list[FlaskClient]:
    """Servers with upstream, without it, without it and the folder, and offline."""
    there = make_client(**storing)
    there.get(PAGE)
    elsewhere.answer = lambda _: Response("down", 503)
    down = make_client(**storing)
    forget(storing)
    return [there, down, make_client(**storing), make_client(**storing, PYOCI_UPSTREAM_OFFLINE="yes")]


@pytest.mark.parametrize("rule", RULES)
def test_a_stored_file_is_withheld(
    make_client: MakeClient,
    storing: dict[str, str],
    elsewhere: PackageIndex,
    rules: Path,
    tmp_path: Path,
    rule: str,
) -> None:
    """It was stored before there was a rule. It is neither on the page nor at its address."""
    fill(make_client(**storing))
    storing |= apply(rule, rules, tmp_path)
    for client in states(make_client, storing, elsewhere):
        page = get(client, PAGE, **JSON)
        assert page.status_code == 200
        assert page.headers["X-PyOCI-Withheld"].endswith(f"; {rule}")
        shown = [file["filename"] for file in page.get_json()["files"]]
        assert shown == ([SDIST] if rule in {"blocked", "not-allowed"} else [])
        for tail in ("", ".metadata"):
            assert (get(client, f"{PAGE}{URL}{tail}").status_code, FLASK in shown) == (403, False)


@pytest.mark.parametrize("index", ["/local/upstream/", "/local/upstream/simple/", "/local/upstream/+simple/"])
@pytest.mark.parametrize("rule", RULES)
def test_a_stored_file_is_withheld_at_the_address_of_the_store(
    make_client: MakeClient, storing: dict[str, str], rules: Path, tmp_path: Path, rule: str, index: str
) -> None:
    """Whatever is asked for. With `report` it is served."""
    fill(make_client(**storing))
    storing |= apply(rule, rules, tmp_path)
    client, project = make_client(**storing), f"{index}flask/"
    shown = [SDIST] if rule in {"blocked", "not-allowed"} else []
    for path in (project, project, f"{project}3.1.0/"):
        page = get(client, path, **JSON)
        assert (page.status_code, [file["filename"] for file in page.get_json()["files"]]) == (200, shown)
    assert FLASK not in get(client, f"{project}json").text
    assert FLASK not in get(client, project, Accept="application/xhtml+xml").text
    for tail in (URL, f"{URL}.metadata", FLASK, f"{FLASK}.metadata"):
        for headers in ({}, {"Range": "bytes=0-9"}):
            answer = get(client, f"{project}{tail}", **headers)
            assert (answer.status_code, f"by the rule {rule}" in answer.text) == (403, True), tail
        assert client.head(f"{project}{tail}").status_code == 403
    rules.write_text(f'mode = "report"\n{RULES[rule]}')
    assert FLASK in get(client, project).text
    assert get(client, f"{project}{URL}").status_code == 200


def test_private_projects_are_not_judged(
    make_client: MakeClient, storing: dict[str, str], rules: Path
) -> None:
    """Rules are for upstream's files alone."""
    rules.write_text('[[block]]\nprojects = ["*"]\nreason = "no"')
    client = make_client(**storing)
    assert upload(client).status_code == 200
    [file] = get(client, "/local/acme/hello-world/", **JSON).get_json()["files"]
    assert get(client, f"/local/acme/hello-world/{file['url']}").status_code == 200


def test_a_quarantined_project_offers_no_copies(
    make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex, rules: Path, tmp_path: Path
) -> None:
    """Its page is remembered: nothing is offered while upstream is down, or offline, either."""
    fill(make_client(**storing))
    storing["PYOCI_CACHE_URL"] = f"file://{tmp_path / 'cache'}"  # the page from before isn't in it
    elsewhere.keys = {"project-status": {"status": "quarantined", "reason": "taken over"}}
    assert get(make_client(**storing), PAGE).status_code == 200
    for client in states(make_client, storing, elsewhere):
        assert get(client, PAGE, **JSON).get_json()["files"] == []
        answer = get(client)
        assert (answer.status_code, "has quarantined the project" in answer.text) == (403, True)
