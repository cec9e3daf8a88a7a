"""PYOCI_UPSTREAM_RULES: on pages of every kind, on files and on metadata; and the private projects beside."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.wrappers import Response

from pyoci.config import WrongSettings
from pyoci.embedded import create_registry_app
from tests.builders import make_wheel
from tests.flows.conftest import Lines, MakeClient
from tests.flows.test_main_job import JSON, upload
from tests.flows.test_strangers import CALLERS, FriendlyRegistry
from tests.flows.test_upstream_files import TestPrivateProjects as PrivateProjects
from tests.serving import served
from tests.upstream.test_osv_dump import affected, write
from tests.upstreams import HTML, PackageIndex, ago, package_index

INDEX = "/local/acme/"
PAGE = f"{INDEX}flask/"
WHEEL, _ = make_wheel("flask", "3.1.0")
BLOCK = '[[block]]\nprojects = ["{}"]\nreason = "We use quart"\n'


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    """A package index with two versions of flask, one of which was uploaded this morning, and with projects
    of the names of private ones.
    """
    with package_index() as elsewhere:
        for name in ("hello-world", "secret-tool"):
            elsewhere.add_wheel(name, "99.0")
        elsewhere.add_wheel("flask", "3.0.0")
        elsewhere.add_wheel("flask", "3.1.0")["upload-time"] = ago(5)
        elsewhere.add("flask-0.1.tar.gz", b"old", hashes={"md5": "ab" * 16})
        yield elsewhere


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text('contact = "Ask security"\n[min-age]\nage = "7d"\n')
    return path


@pytest.fixture
def settings(elsewhere: PackageIndex, tmp_path: Path, rules: Path) -> dict[str, str]:
    return {
        "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
        "PYOCI_UPSTREAM_FILES": "proxy",
        "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files"),
        "PYOCI_UPSTREAM_RULES": str(rules),
        "PYOCI_DEFAULT_INDEX": "local/acme",
        "PYOCI_PRIVATE_PROJECTS": "secret-*",
    }


@pytest.fixture
def client(make_client: MakeClient, settings: dict[str, str]) -> FlaskClient:
    return make_client(**settings)


def versions(client: FlaskClient, page: str = PAGE) -> list[str]:
    answer = client.get(page, headers=JSON)
    assert answer.status_code == 200
    return [file["filename"].split("-")[1] for file in answer.get_json()["files"]]


def link(elsewhere: PackageIndex, version: str = "3.1.0") -> str:
    """The address that a lock file has, which was made without rules."""
    files = {file["filename"].split("-")[1]: file for file in elsewhere.projects["flask"]}
    return f"{PAGE}+{files[version]['hashes']['sha256'][:16]}/{files[version]['filename']}"


def test_a_page_of_each_kind(client: FlaskClient) -> None:
    """Neither shows a file of this morning, nor one that can't be verified. The header counts them."""
    assert versions(client) == ["3.0.0"]
    assert client.get(PAGE, headers=JSON).get_json()["versions"] == ["3.0.0"]
    html = client.get(PAGE, headers={"Accept": HTML})
    assert html.text.count("<a ") == 1
    assert WHEEL not in html.text
    legacy = client.get(f"{PAGE}json")
    assert list(legacy.get_json()["releases"]) == ["3.0.0"]
    assert legacy.get_json()["info"]["version"] == "3.0.0"
    for answer in (html, legacy, client.get("/simple/flask/"), client.get("/pypi/flask/json")):
        assert answer.headers["X-PyOCI-Withheld"] == "2; min-age, unverifiable"
        assert answer.headers["X-PyOCI-Origin"] == "upstream"


def test_a_project_without_other_files(client: FlaskClient, rules: Path) -> None:
    """It is a page without files: a 404 would send clients on to their next index. So is a version."""
    rules.write_text(BLOCK.format("flask"))
    for path in (PAGE, "/simple/flask/3.1.0/", "/simple/flask/", f"{INDEX}simple/flask/"):
        answer = client.get(path, headers=JSON)
        assert (answer.status_code, answer.get_json()["files"], answer.get_json()["versions"]) == (
            200,
            [],
            [],
        )
        assert "blocked" in answer.headers["X-PyOCI-Withheld"]
    assert client.get(f"{PAGE}json").get_json()["releases"] == {}
    assert client.get("/simple/flask/9.9/").status_code == 404


def test_provenance_is_withheld_with_its_file(client: FlaskClient, elsewhere: PackageIndex) -> None:
    """It has an address here, too."""
    for entry in elsewhere.projects["flask"][:2]:
        entry["provenance"] = f"{elsewhere.url}/files/{entry['filename']}.provenance"
    assert client.get(f"{link(elsewhere)}.provenance").status_code == 403
    assert not [call for call in elsewhere.calls if "/files/" in call]


@pytest.mark.parametrize("tail", ["", ".metadata"])
def test_a_lock_file_can_not_pass_by(
    client: FlaskClient, elsewhere: PackageIndex, lines: Lines, tail: str
) -> None:
    """The file is refused with the reason, in the status line as well, and HEAD and parts of it, too."""
    path = f"{link(elsewhere)}{tail}"
    for headers in ({}, {"Range": "bytes=0-5"}):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 403
        assert answer.text.startswith(
            f"{WHEEL} is withheld by the rule min-age: it was uploaded less than 7d ago"
        )
        assert answer.text.endswith("is served. Ask security")
        assert answer.status == f"403 {answer.text}"
    assert client.head(path).status_code == 403
    assert not [call for call in elsewhere.calls if "/files/" in call]
    assert client.get(f"{link(elsewhere, '3.0.0')}{tail}").status_code == 200
    refused = [line for line in lines.read_lines() if line["event"] == "file withheld"]
    assert [(line["file"], line["rule"]) for line in refused] == [(WHEEL, "min-age")] * 3


def test_a_file_that_was_fetched_before(client: FlaskClient, elsewhere: PackageIndex, rules: Path) -> None:
    """What is kept here is refused like any other file."""
    assert client.get(link(elsewhere, "3.0.0")).status_code == 200
    rules.write_text(BLOCK.format("flask<3.1"))
    answer = client.get(link(elsewhere, "3.0.0"))
    assert (answer.status_code, "We use quart" in answer.text) == (403, True)


def test_rules_that_change_change_pages(client: FlaskClient, rules: Path) -> None:
    """At once, for warm pages as well, and so does the ETag. A 304 has the header of the page."""
    first = client.get(PAGE, headers=JSON)
    for _ in range(2):
        same = client.get(PAGE, headers={**JSON, "If-None-Match": first.headers["ETag"]})
        assert (same.status_code, same.headers["X-PyOCI-Withheld"]) == (304, "2; min-age, unverifiable")
    rules.write_text(BLOCK.format("flask==3.0.0"))
    second = client.get(PAGE, headers={**JSON, "If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.headers["X-PyOCI-Withheld"]) == (200, "2; blocked, unverifiable")
    assert second.headers["ETag"] != first.headers["ETag"]
    assert versions(client) == ["3.1.0"]
    rules.write_text("[min-age]\nage =")
    assert versions(client) == ["3.1.0"]


def test_a_report_withholds_nothing(
    make_client: MakeClient, settings: dict[str, str], elsewhere: PackageIndex, rules: Path, lines: Lines
) -> None:
    """It logs a line for each page and each file that would be refused. Files may come from upstream."""
    rules.write_text('mode = "report"\n[min-age]\nage = "7d"\n')
    direct = {**settings, "PYOCI_UPSTREAM_FILES": "direct"}
    for client in (make_client(**settings), make_client(**direct)):
        answer = client.get(PAGE, headers=JSON)
        assert len(answer.get_json()["files"]) == 3
        assert "X-PyOCI-Withheld" not in answer.headers
    assert make_client(**settings).get(link(elsewhere)).status_code == 200
    told = [line for line in lines.read_lines() if "would be withheld" in line["event"]]
    pages = [line for line in told if line["event"] == "files would be withheld"]
    assert [(line["project"], line["rules"]) for line in pages] == [
        ("flask", "min-age: 1, unverifiable: 1")
    ] * 3
    assert [line["file"] for line in told if line not in pages] == [WHEEL]


def test_a_page_is_logged_once(client: FlaskClient, lines: Lines) -> None:
    """With counts, however often it is asked for, and in however many representations."""
    for path in (PAGE, PAGE, f"{PAGE}json", "/simple/flask/", f"{PAGE}3.0.0/"):
        client.get(path)
    told = [line for line in lines.read_lines() if line["event"] == "files withheld"]
    assert [(line["project"], line["files"]) for line in told] == [("flask", 2)]


def test_it_is_counted(
    make_client: MakeClient, settings: dict[str, str], elsewhere: PackageIndex, rules: Path
) -> None:
    """Each file of a page once, when the page is judged; each refused download; and changed rules."""
    elsewhere.add_wheel("flask", "3.2.0")["upload-time"] = ago(5)
    client = make_client(**settings, PYOCI_METRICS="yes")
    for _ in range(3):
        client.get(PAGE)
        client.get(link(elsewhere))
    rules.write_text("mode =")
    client.get(PAGE)
    labels = 'pyoci_mode="enforce",pyoci_rule="min-age",pyoci_where="{}"'
    metrics = client.get("/metrics").text
    assert f"pyoci_upstream_withheld_total{{{labels.format('page')}}} 2.0" in metrics
    assert f"pyoci_upstream_withheld_total{{{labels.format('file')}}} 3.0" in metrics
    assert 'pyoci_upstream_rules_total{pyoci_result="broken"} 1.0' in metrics


def test_a_quarantined_project(client: FlaskClient, elsewhere: PackageIndex, rules: Path) -> None:
    """It offers nothing, kept files and those that are no longer on its page included."""
    path = link(elsewhere)
    elsewhere.keys = {"project-status": {"status": "quarantined", "reason": "taken over"}}
    page = client.get(PAGE, headers=JSON)
    assert (page.status_code, page.get_json()["files"]) == (200, [])
    assert page.headers["X-PyOCI-Withheld"] == "3; quarantined"
    assert page.get_json()["project-status"] == {"status": "quarantined", "reason": "taken over"}
    elsewhere.projects["flask"].clear()
    for fresh in ({}, {"Cache-Control": "no-cache"}):
        client.get(PAGE, headers=fresh)
        answer = client.get(path)
        assert (answer.status_code, "quarantined" in answer.text) == (403, True)


def test_upstream_is_busy(
    make_client: MakeClient, settings: dict[str, str], elsewhere: PackageIndex, rules: Path, tmp_path: Path
) -> None:
    """Rules hold, and change, for what is remembered as well, also after a restart."""
    settings["PYOCI_CACHE_URL"] = f"file://{tmp_path / 'cache'}"
    client = make_client(**settings)
    assert versions(client) == ["3.0.0"]
    assert client.get(link(elsewhere, "3.0.0")).status_code == 200
    elsewhere.answer = lambda _: Response("too many requests", 429)
    elsewhere.cache_control = "no-store"
    for now in (client, make_client(**settings)):
        for path in (PAGE, f"{PAGE}json"):
            answer = now.get(path, headers={"Cache-Control": "no-cache"})
            assert (answer.status_code, WHEEL in answer.text) == (200, False)
            assert answer.headers["X-PyOCI-Withheld"] == "2; min-age, unverifiable"
        assert now.get(link(elsewhere)).status_code == 403
        assert now.get(link(elsewhere, "3.0.0")).status_code == 200
    rules.write_text(BLOCK.format("flask"))
    assert client.get(link(elsewhere, "3.0.0")).status_code == 403
    assert versions(client) == []


def test_a_yanked_file_stays_yanked(client: FlaskClient, elsewhere: PackageIndex) -> None:
    """Clients decide about it."""
    elsewhere.projects["flask"][0]["yanked"] = "broken"
    [file] = client.get(PAGE, headers=JSON).get_json()["files"]
    assert file["yanked"] == "broken"
    assert client.get(f"{PAGE}{file['url']}").status_code == 200


def test_the_age_alone(make_client: MakeClient, settings: dict[str, str]) -> None:
    """A setting of its own, without a file of rules."""
    del settings["PYOCI_UPSTREAM_RULES"]
    assert versions(make_client(**settings, PYOCI_UPSTREAM_MIN_AGE="4h")) == ["3.0.0", "3.1.0"]
    assert versions(make_client(**settings, PYOCI_UPSTREAM_MIN_AGE="6h")) == ["3.0.0"]


def test_upstream_without_upload_times(client: FlaskClient, elsewhere: PackageIndex, rules: Path) -> None:
    """HTML has none: everything is withheld, unless the rule says otherwise."""
    elsewhere.forms = (HTML,)
    page = client.get(PAGE, headers=JSON)
    assert (page.get_json()["files"], page.headers["X-PyOCI-Withheld"]) == ([], "3; min-age, unverifiable")
    answer = client.get(link(elsewhere))
    assert (answer.status_code, "doesn't tell when it was uploaded" in answer.text) == (403, True)
    rules.write_text('[min-age]\nage = "7d"\nwithout-time = "serve"\n')
    assert versions(client) == ["3.0.0", "3.1.0"]


def test_private_projects_have_no_rules(client: FlaskClient, elsewhere: PackageIndex, rules: Path) -> None:
    """Rules look at upstream's pages alone, and nobody outside is asked because of them."""
    rules.write_text('[[allow]]\nprojects = ["nothing"]\nreason = "no"\n[min-age]\nage = "52w"\n')
    assert upload(client).status_code == 200
    page = client.get(f"{INDEX}hello-world/", headers=JSON)
    assert "X-PyOCI-Withheld" not in page.headers
    [file] = page.get_json()["files"]
    assert client.get(f"{INDEX}hello-world/{file['url']}").status_code == 200
    assert elsewhere.calls == []


def test_the_reasons_of_a_page(client: FlaskClient, elsewhere: PackageIndex) -> None:
    """With `explain` in the query. It is never given for a page without, nor warm."""
    for _ in range(2):
        page = client.get(f"{PAGE}?explain=yes", headers={"Accept": HTML})
        document = page.get_json()
        assert [file["filename"].split("-")[1] for file in document["files"]] == ["3.0.0"]
        assert document["_rules"] == {"mode": "enforce", "contact": "Ask security", "quarantine": ""}
        new, old = document["_withheld"]
        assert (new["filename"], new["_rule"], f"{PAGE}{new['url']}") == (WHEEL, "min-age", link(elsewhere))
        assert new["_reason"].startswith("it was uploaded less than 7d ago")
        assert new["_until"].endswith("Z")
        assert (old["_rule"], "_until" in old) == ("unverifiable", False)
        assert "_rules" not in client.get(PAGE, headers=JSON).get_json()
    version = client.get("/simple/flask/3.1.0/?explain").get_json()
    assert [each["filename"] for each in version["_withheld"]] == [WHEEL]
    moved = client.get(f"{INDEX}Flask/?explain")
    assert (moved.status_code, moved.headers["Location"]) == (301, "../flask/?explain")


def test_malware(
    make_client: MakeClient, settings: dict[str, str], elsewhere: PackageIndex, tmp_path: Path, lines: Lines
) -> None:
    """It is withheld with the entry that reports it, also without a file of rules. The log has the number of
    projects that are known.
    """
    write(tmp_path / "osv", "MAL-2026-1", affected("flask", versions=["3.1.0"]))
    del settings["PYOCI_UPSTREAM_RULES"]
    client = make_client(**settings, PYOCI_OSV_DUMP=str(tmp_path / "osv"))
    [line] = [line for line in lines.read_lines() if line["event"] == "rules are in force"]
    assert (line["mode"], line["malware"]) == ("enforce", 1)
    page = client.get(PAGE, headers=JSON)
    assert page.headers["X-PyOCI-Withheld"] == "2; malware, unverifiable"
    answer = client.get(link(elsewhere))
    assert (answer.status_code, "MAL-2026-1 reports it as malware" in answer.text) == (403, True)
    assert client.get(link(elsewhere, "3.0.0")).status_code == 200


def test_the_line_at_the_start(
    make_client: MakeClient, settings: dict[str, str], rules: Path, tmp_path: Path, lines: Lines
) -> None:
    """It names upstream's host, and how old the rules and the database of malware are."""
    dump = tmp_path / "osv"
    write(dump, "MAL-2026-1", affected("flask", versions=["3.1.0"]))
    write(dump, "MAL-2026-2", affected("flask", versions=["3.2.0"]))
    changed = {rules: 3 * 24 * 3600, dump / "MAL-2026-1.json": 9 * 24 * 3600}
    changed[dump / "MAL-2026-2.json"] = 5 * 3600
    for path, age in changed.items():
        os.utime(path, (time.time() - age - 60,) * 2)
    make_client(**settings, PYOCI_OSV_DUMP=str(dump))
    del settings["PYOCI_UPSTREAM_RULES"]
    make_client(**settings)
    with_rules, without = lines.read_lines()
    assert with_rules["event"] == "rules are in force"
    assert (with_rules["upstream"], with_rules["rules_age"], with_rules["malware_age"]) == (
        "127.0.0.1",
        "3d",
        "5h",
    )
    assert (without["event"], without["upstream"]) == ("no rules are in force", "127.0.0.1")


ODD_FILES: list[tuple[str, dict[str, Any]]] = [
    ("odd-1.0-py3-none-any.whl", {}),
    ("odd-1.0.tar.gz", {}),
    ("odd-2.0.zip", {"upload_time": None}),
    ("odd-2.0-py3-none-any.whl", {"upload_time": "yesterday"}),
    ("odd-2.1-py3-none-any.whl", {"upload_time": "9999-12-31T23:59:59-14:00"}),
    ("odd-2.2-py3-none-any.whl", {"hashes": {"md5": "ab" * 16}}),
    ("odd-2.3-py3-none-any.whl", {"hashes": {"sha256": "short"}}),
    ("odd-3.0+local-py3-none-any.whl", {}),
    ("odd-3.0-1.tar.gz", {}),
    ("odd-4.0.tgz", {"yanked": True}),
    ("odd-5.0rc1.tar.bz2", {}),
]
RULE_FILES = [  # and the positions of the files that are served
    ("# nothing", "0 1 2 3 4 7 8 9 10"),
    ('[min-age]\nage = "7d"', "0 1 7 8 9 10"),
    ('[min-age]\nage = "7d"\nwithout-time = "serve"', "0 1 2 3 4 7 8 9 10"),
    ('[min-age]\nage = "52w"\nexcept = ["odd==3.0", "odd==2.1"]', "4"),
    ('[[block]]\nprojects = ["odd<3", "odd==4.*"]\nreason = "no"', "7 8 10"),
    ('[[block]]\nprojects = ["o*"]\nkinds = ["sdist"]\nreason = "no"', "0 3 4 7"),
    ('[[allow]]\nprojects = ["odd>=3"]\nkinds = ["sdist"]\nreason = "no"', "8 9 10"),
    ('[[allow]]\nprojects = ["other"]\nreason = "no"', ""),
]


@pytest.mark.parametrize(("content", "positions"), RULE_FILES)
def test_each_file_is_served_or_refused(
    client: FlaskClient, elsewhere: PackageIndex, rules: Path, content: str, positions: str
) -> None:
    """What is on the page, in each representation, can be downloaded; anything else is a 403."""
    entries = []
    for filename, keys in ODD_FILES:
        entry = elsewhere.add(filename, filename.encode())
        entries.append({**entry, **{key.replace("_", "-"): value for key, value in keys.items()}})
    elsewhere.projects["odd"] = entries
    rules.write_text(content)
    page = client.get(f"{INDEX}odd/", headers=JSON)
    shown = {file["filename"]: file["url"] for file in page.get_json()["files"]}
    assert list(shown) == [ODD_FILES[int(position)][0] for position in positions.split()]
    html = client.get(f"{INDEX}odd/", headers={"Accept": HTML}).text
    releases = client.get(f"{INDEX}odd/json").get_json()["releases"]
    assert {file["filename"] for files in releases.values() for file in files} == set(shown)
    withheld = int(page.headers.get("X-PyOCI-Withheld", "0").partition(";")[0])
    assert withheld == len(ODD_FILES) - len(shown)
    for filename, keys in ODD_FILES:
        assert (f">{escape(filename)}</a>" in html) == (filename in shown)
        digest = hashlib.sha256(filename.encode()).hexdigest()[:16]
        path = f"{INDEX}odd/+{digest}/{filename}"
        if filename in shown:
            assert shown[filename] == f"+{digest}/{quote(filename)}"
            assert client.get(path).data == filename.encode()
        else:
            expected = 404 if "hashes" in keys else 403
            assert client.get(path).status_code == client.get(f"{path}.metadata").status_code == expected
    assert {call for call in elsewhere.calls if "/files/" in call} == {
        f"GET /files/{filename} 200" for filename in shown
    }


class TestPrivateProjects(PrivateProjects):
    """What holds for them without rules."""


@pytest.mark.parametrize("first", ["me", "stranger"])
def test_reasons_are_for_those_who_may_see_the_page(
    make_client: MakeClient, settings: dict[str, str], elsewhere: PackageIndex, tmp_path: Path, first: str
) -> None:
    """Others get the registry's refusal, whoever came before, and learn nothing about rules."""
    del settings["PYOCI_DEFAULT_INDEX"]
    registry = FriendlyRegistry(create_registry_app(tmp_path / "remote", htpasswd=None, local_only=False))
    statuses = {"stranger": 401, "you": 403, "me": 403}
    path = link(elsewhere).removeprefix(PAGE)
    with served(registry) as url:
        client = make_client(**settings, PYOCI_REGISTRIES=f"lab={url}")
        for caller in 2 * sorted(statuses, key=lambda caller: caller != first):
            answer = client.get(f"/lab/secret/flask/{path}", headers=CALLERS[caller])
            assert (answer.status_code, "withheld" in answer.text) == (statuses[caller], caller == "me")
            page = client.get("/lab/secret/flask/?explain", headers=CALLERS[caller])
            assert (page.status_code == 200, "_withheld" in page.text) == (caller == "me", caller == "me")
            assert ("X-PyOCI-Withheld" in page.headers) == (caller == "me")


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"PYOCI_UPSTREAM_RULES": "/nowhere/rules.toml"}, "", "there is no file '/nowhere/rules.toml'"),
    ({}, "[[block]]", "block[1].projects is missing"),
    ({}, "\0", "this is not TOML"),
    ({"PYOCI_UPSTREAM_FILES": "direct"}, "", "can't be enforced on files that clients download elsewhere"),
    ({"PYOCI_UPSTREAM_INDEX": ""}, "", "PYOCI_UPSTREAM_RULES is set without PYOCI_UPSTREAM_INDEX"),
    ({"PYOCI_OSV_DUMP": "/nowhere"}, "", "PYOCI_OSV_DUMP: No such file or directory"),
    ({"PYOCI_OSV_DUMP": "/proc/self/fd"}, "", "PYOCI_OSV_DUMP: the folder has no files MAL-*.json"),
    (
        {"PYOCI_UPSTREAM_RULES": "", "PYOCI_OSV_DUMP": "/nowhere", "PYOCI_UPSTREAM_FILES": "direct"},
        "",
        "PYOCI_OSV_DUMP: rules can't be enforced",
    ),
    ({"PYOCI_UPSTREAM_MIN_AGE": "soon"}, "", "PYOCI_UPSTREAM_MIN_AGE: 'soon' is not an age"),
    (
        {"PYOCI_UPSTREAM_RULES": "", "PYOCI_UPSTREAM_MIN_AGE": "7d", "PYOCI_UPSTREAM_FILES": "direct"},
        "",
        "PYOCI_UPSTREAM_MIN_AGE: rules can't be enforced",
    ),
]


@pytest.mark.parametrize(("change", "content", "message"), MISTAKES)
def test_a_mistake_stops_the_start(
    make_client: MakeClient,
    settings: dict[str, str],
    rules: Path,
    change: dict[str, str],
    content: str,
    message: str,
) -> None:
    """With a sentence that names the setting."""
    rules.write_text(content)
    with pytest.raises(WrongSettings) as caught:
        make_client(**{**settings, **change})
    assert message in str(caught.value)


def test_a_change_that_can_not_be_enforced(
    make_client: MakeClient, settings: dict[str, str], rules: Path, lines: Lines
) -> None:
    """It counts as a broken file: the report goes on."""
    rules.write_text('mode = "report"')
    client = make_client(**{**settings, "PYOCI_UPSTREAM_FILES": "direct"})
    assert len(versions(client)) == 3
    rules.write_text('mode = "enforce"')
    assert len(versions(client)) == 3
    [told] = [line for line in lines.read_lines() if line["event"] == "rules not read"]
    assert (told["level"], "can't be enforced" in told["reason"]) == ("error", True)
