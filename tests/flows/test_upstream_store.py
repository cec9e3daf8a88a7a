"""PYOCI_UPSTREAM_FILES=store: served files of upstream are stored for good, and served without upstream."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

import pyoci
from pyoci.embedded import Htpasswd, create_registry_app
from pyoci.oci.credentials import Basic
from tests.builders import make_metadata, make_sdist, make_wheel
from tests.flows.conftest import Lines, MakeClient
from tests.flows.test_main_job import JSON, upload
from tests.serving import served
from tests.upstreams import PackageIndex, package_index
from tests.waiting import until

INDEX = "/local/acme/"
PAGE = f"{INDEX}flask/"
STORED = "/local/upstream/flask/"
FLASK, CONTENT = make_wheel("flask", "3.1.0")
SDIST, SOURCE = make_sdist("flask", "3.1.0")
WHEN = "2026-01-02T03:04:05.678901Z"
URL = f"+{hashlib.sha256(CONTENT).hexdigest()[:16]}/{FLASK}"


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    """A package index with flask, one file of which is yanked, and with the name of a private project."""
    with package_index() as elsewhere:
        elsewhere.add_wheel("flask", "3.1.0")
        elsewhere.add(SDIST, SOURCE, yanked="broken")
        elsewhere.add_wheel("hello-world", "99.0")
        elsewhere.add_wheel("secret-tool", "99.0")
        yield elsewhere


@pytest.fixture
def storing(elsewhere: PackageIndex, tmp_path: Path) -> dict[str, str]:
    return {
        "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
        "PYOCI_UPSTREAM_FILES": "store",
        "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files"),
        "PYOCI_UPSTREAM_STORE": "local/upstream",
        "PYOCI_PRIVATE_PROJECTS": "secret-*",
    }


@pytest.fixture
def client(make_client: MakeClient, storing: dict[str, str]) -> FlaskClient:
    return make_client(**storing)


def get(client: FlaskClient, path: str = f"{PAGE}{URL}", **headers: str) -> TestResponse:
    return client.get(path, headers=headers)


def files(client: FlaskClient, page: str = PAGE) -> dict[str, dict[str, Any]]:
    answer = client.get(page, headers=JSON)
    return (
        {file["filename"]: file for file in answer.get_json()["files"]} if answer.status_code == 200 else {}
    )


def download_all(client: FlaskClient, page: str = PAGE) -> dict[str, bytes]:
    return {name: get(client, f"{page}{file['url']}").data for name, file in files(client, page).items()}


def fill(client: FlaskClient) -> None:
    """Download all files of flask, and wait until they are stored."""
    assert download_all(client) == {FLASK: CONTENT, SDIST: SOURCE}
    until(lambda: files(client, STORED).keys() == {FLASK, SDIST}, "the copies")


def forget(storing: dict[str, str]) -> None:
    shutil.rmtree(storing["PYOCI_UPSTREAM_FILES_DIR"])


def test_a_served_file_is_stored(client: FlaskClient, elsewhere: PackageIndex) -> None:
    """As an ordinary package, with its upload time and its yank. A page and HEAD store nothing."""
    get(client, PAGE)
    client.head(f"{PAGE}{URL}")
    assert files(client, STORED) == {}
    fill(client)
    wheel, sdist = files(client, STORED)[FLASK], files(client, STORED)[SDIST]
    assert (wheel["upload-time"], wheel.get("yanked")) == (WHEN, None)
    assert (sdist["upload-time"], sdist["yanked"]) == (WHEN, "broken")
    assert wheel["hashes"] == {"sha256": hashlib.sha256(CONTENT).hexdigest()}
    assert get(client, f"{STORED}{wheel['url']}").data == CONTENT
    assert get(client, f"{STORED}{wheel['url']}.metadata").data == make_metadata("flask", "3.1.0")


def test_a_file_is_stored_once(client: FlaskClient, elsewhere: PackageIndex, lines: Lines) -> None:
    """Each further download neither fetches nor stores it."""
    fill(client)
    before = files(client, STORED)
    fill(client)
    assert files(client, STORED) == before
    assert sum(f"/files/{FLASK} " in call for call in elsewhere.calls) == 1


def test_each_write_is_in_the_audit_log(
    make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex, lines: Lines
) -> None:
    """Also those that this server makes by itself: copies, yanks and quarantines."""

    def audited() -> list[dict[str, Any]]:
        return [line for line in lines.read_lines() if line["event"] == "audit"]

    fill(make_client(**storing))
    until(lambda: len(audited()) == 2, "the lines")
    made = {line["file"]: line for line in audited()}
    assert made.keys() == {FLASK, SDIST}
    assert {key: value for key, value in made[FLASK].items() if key != "timestamp"} == {
        "level": "info",
        "room": "pyoci.audit",
        "event": "audit",
        "action": "publish",
        "registry": "local",
        "repository": "upstream/flask",
        "file": FLASK,
        "sha256": [hashlib.sha256(CONTENT).hexdigest()],
        "result": "done",
        "client": f"pyoci/{pyoci.__version__}",
    }
    elsewhere.projects["flask"][0]["yanked"] = "unsafe"
    forget(storing)
    download_all(make_client(**storing))
    until(lambda: len(audited()) == 3, "the yank")
    assert (audited()[2]["action"], audited()[2]["reason"], audited()[2]["file"]) == ("yank", "unsafe", FLASK)
    elsewhere.keys["project-status"] = {"status": "quarantined", "reason": "malware"}
    get(make_client(**storing), PAGE)
    until(lambda: len(audited()) == 4, "the quarantine")
    assert audited()[3].items() >= {"action": "status", "status": "quarantined", "reason": "malware"}.items()


def test_without_upstream_and_folder(
    make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex
) -> None:
    """Another server, which remembers nothing, serves what the store has: page, files and METADATA. What was
    never stored is an error of upstream.
    """
    first = make_client(**storing)
    fill(first)
    elsewhere.answer = lambda _: Response("down", 503)
    forget(storing)
    second = make_client(**storing)
    answer = second.get(PAGE, headers=JSON)
    assert (answer.status_code, answer.headers["X-PyOCI-Origin"]) == (200, "upstream")
    assert answer.headers["X-PyOCI-Upstream"] == "stored"
    wheel, sdist = files(second)[FLASK], files(second)[SDIST]
    assert (wheel["url"], wheel["size"], wheel["upload-time"]) == (URL, len(CONTENT), WHEN)
    assert sdist["yanked"] == "broken"
    assert get(second, f"{PAGE}{URL}.metadata").data == make_metadata("flask", "3.1.0")
    assert download_all(second) == {FLASK: CONTENT, SDIST: SOURCE}
    part = get(second, Range="bytes=5-9")
    assert (part.status_code, part.data, part.headers["X-PyOCI-Upstream"]) == (206, CONTENT[5:10], "stored")
    assert get(second, f"{INDEX}hello-world/").status_code == 503


def test_the_store_comes_before_upstream(
    make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex
) -> None:
    """A file that the folder lost is read from the store, while upstream is there."""
    client = make_client(**storing)
    fill(client)
    forget(storing)
    elsewhere.calls.clear()
    second = make_client(**storing)
    assert download_all(second) == {FLASK: CONTENT, SDIST: SOURCE}
    assert [call for call in elsewhere.calls if "/files/" in call] == []


def test_upstreams_page_decides(
    make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex
) -> None:
    """A stored file that upstream's page no longer has isn't served, nor is one of a project that is gone."""
    fill(make_client(**storing))
    del elsewhere.projects["flask"][1]
    assert files(make_client(**storing)).keys() == {FLASK}
    del elsewhere.projects["flask"]
    client = make_client(**storing)
    assert get(client, PAGE).status_code == 404
    assert get(client).status_code == 404


def test_a_yank_follows(make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex) -> None:
    """With the next download."""
    fill(make_client(**storing))
    elsewhere.projects["flask"][0]["yanked"] = "unsafe"
    client = make_client(**storing)
    assert get(client).data == CONTENT
    until(lambda: files(client, STORED)[FLASK].get("yanked") == "unsafe", "the yank")


def test_a_project_that_upstream_quarantines(
    make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex
) -> None:
    """It offers nothing from then on, also while upstream is down, by a server that never saw its page."""
    fill(make_client(**storing))
    elsewhere.keys["project-status"] = {"status": "quarantined", "reason": "malware"}
    elsewhere.projects["flask"] = []
    client = make_client(**storing)
    assert files(client) == {}
    until(lambda: "quarantined" in get(client, STORED, Accept=JSON["Accept"]).text, "the quarantine")
    elsewhere.answer = lambda _: Response("down", 503)
    for offline in ("no", "yes"):
        other = make_client(**storing, PYOCI_UPSTREAM_OFFLINE=offline)
        answer = get(other, PAGE, Accept=JSON["Accept"])
        assert (answer.status_code, answer.get_json()["files"]) == (200, [])
        assert answer.get_json()["project-status"] == {"status": "quarantined", "reason": "malware"}
        assert get(other).status_code in {403, 404}


def test_what_the_format_cannot_hold(client: FlaskClient, elsewhere: PackageIndex, lines: Lines) -> None:
    """It is served as with `proxy`. The log says once why it isn't stored."""
    name, content = make_wheel("flask", f"1.0+{'a' * 130}")
    elsewhere.add(name, content)
    for _ in range(3):
        assert download_all(client)[name] == content
    until(lambda: {FLASK, SDIST} == files(client, STORED).keys(), "the copies")
    [line] = [line for line in lines.read_lines() if line["event"] == "copy refused"]
    assert (line["file"], line["level"]) == (name, "warning")
    assert "can't be a tag" in line["reason"]


@pytest.mark.parametrize("password", ["right", "wrong"])
def test_the_operators_credentials(
    make_client: MakeClient, storing: dict[str, str], tmp_path: Path, lines: Lines, password: str
) -> None:
    """They are sent to the store's registry, and are in no line of the log."""
    users = tmp_path / "htpasswd"
    users.write_bytes(b"operator:" + bcrypt.hashpw(b"right-secret", bcrypt.gensalt(4)) + b"\n")
    login = tmp_path / "login"
    login.write_text(f"operator:{password}-secret\n")
    registry = create_registry_app(tmp_path / "remote", htpasswd=Htpasswd(users), local_only=False)
    with served(registry) as url:
        settings = {
            **storing,
            "PYOCI_UPSTREAM_STORE": f"{url}/upstream",
            "PYOCI_UPSTREAM_STORE_CREDENTIALS": str(login),
            "PYOCI_REGISTRIES": f"lab={url}",
            "PYOCI_LOG": "debug",
        }
        client = make_client(**settings)
        assert download_all(client) == {FLASK: CONTENT, SDIST: SOURCE}
        own = {"Authorization": Basic("operator", "right-secret").header()}

        def stored() -> bool:
            return client.get("/lab/upstream/flask/", headers=own).status_code == 200

        if password == "right":  # not a password
            until(stored, "the copies")
        else:
            until(lambda: len(attempts(lines)) == 2 * 3, "the attempts")
            assert not stored()
    assert "-secret" not in lines.getvalue()


class TestPrivateProjects:
    def test_names_of_private_projects_are_never_stored(
        self, client: FlaskClient, elsewhere: PackageIndex
    ) -> None:
        """Nor asked for."""
        name, content = make_wheel("secret-tool", "99.0")
        path = f"{INDEX}secret-tool/+{hashlib.sha256(content).hexdigest()[:16]}/{name}"
        assert get(client, path).status_code == 404
        assert elsewhere.calls == []
        assert get(client, "/local/upstream/secret-tool/").status_code == 404

    def test_a_project_that_is_published_later_is_private(
        self, make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex
    ) -> None:
        """Its stored files are served under this name no more, whatever happens to upstream."""
        client = make_client(**storing)
        page, stored = f"{INDEX}hello-world/", "/local/upstream/hello-world/"
        assert len(download_all(client, page)) == 1
        until(lambda: len(files(client, stored)) == 1, "the copies")
        [name] = files(client, stored)
        upload(client)
        elsewhere.answer = lambda _: Response("down", 503)
        forget(storing)
        offline = make_client(**storing, PYOCI_UPSTREAM_OFFLINE="yes")
        for each in (client, make_client(**storing), offline):
            assert name not in files(each, page)
            assert get(each, f"{page}{files(each, stored)[name]['url']}").status_code == 404

    def test_a_registry_that_is_down(self, make_client: MakeClient, storing: dict[str, str]) -> None:
        """It could not say that the project isn't its own: nothing comes from the store."""
        fill(make_client(**storing))
        down = make_client(**storing, PYOCI_REGISTRIES="lab=http://127.0.0.1:9")
        assert get(down, "/lab/acme/flask/").status_code in {503, 504}
        assert get(down, f"/lab/acme/flask/{URL}").status_code in {503, 504}


class TestNamespace:
    """The store's own namespace, at its full address."""

    def test_it_is_read_only(self, client: FlaskClient) -> None:
        """Uploads, yanks and deletes are refused with the reason, also at its aliases and below it."""
        fill(client)
        for index in (
            "/local/upstream/",
            "/local/upstream/simple/",
            "/local/upstream/legacy/",
            "/local/upstream/x/",
        ):
            answer = upload(client, url=index)
            assert (index, answer.status_code) == (index, 403)
            assert b"is for copies of upstream's files" in answer.data
        yanked = client.patch(f"{STORED}3.1.0", json={"yanked": True})
        assert yanked.status_code == 403
        assert client.delete(f"{STORED}{FLASK}").status_code == 403
        assert b"is for copies of upstream's files" in yanked.data
        assert files(client, STORED).keys() == {FLASK, SDIST}

    @pytest.mark.parametrize(
        "index", ["/local/upstream/", "/local/upstream/simple/", "/local/upstream/+simple/"]
    )
    def test_it_never_leads_upstream(self, client: FlaskClient, elsewhere: PackageIndex, index: str) -> None:
        """Neither for a page nor for a file."""
        assert get(client, f"{index}flask/").status_code == 404
        assert get(client, f"{index}flask/{URL}").status_code == 404
        assert client.get(f"{index}flask/json").status_code == 404
        assert elsewhere.calls == []

    def test_other_namespaces_are_not_touched(self, client: FlaskClient) -> None:
        """Also one whose name begins in the same way."""
        assert upload(client, url="/local/upstream2/").status_code == 200


class TestProvenance:
    """It is stored with the file, and served where the file is."""

    DOCUMENT = b'{"version": 1, "attestation_bundles": []}'

    @pytest.fixture
    def elsewhere(self, elsewhere: PackageIndex) -> PackageIndex:
        elsewhere.add_provenance(elsewhere.projects["flask"][0], self.DOCUMENT)
        return elsewhere

    @staticmethod
    def read(client: FlaskClient, page: str = PAGE) -> bytes:
        """The document that a page links to."""
        url = files(client, page)[FLASK]["provenance"]
        assert url == f"http://localhost{page}{URL}.provenance"
        answer = client.get(url)
        assert answer.status_code == 200, answer.text
        return bytes(answer.data)

    def test_a_copy_has_it(self, client: FlaskClient) -> None:
        """At its own address, and for other files there is none."""
        fill(client)
        assert self.read(client, STORED) == self.DOCUMENT
        assert "provenance" not in files(client, STORED)[SDIST]
        assert "data-provenance" in get(client, STORED, Accept="text/html, application/json;q=0.1").text
        sdist = files(client, STORED)[SDIST]["url"]
        assert get(client, f"{STORED}{sdist}.provenance").status_code == 404

    @pytest.mark.parametrize("offline", ["no", "yes"])
    def test_without_upstream(
        self, make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex, offline: str
    ) -> None:
        """A page that is made of the copies has it, too. Nothing else is requested in its place."""
        fill(make_client(**storing))
        forget(storing)
        elsewhere.answer = lambda _: Response("down", 503)
        elsewhere.calls.clear()
        client = make_client(**storing, PYOCI_UPSTREAM_OFFLINE=offline)
        assert get(client, PAGE).headers["X-PyOCI-Upstream"] == "stored"
        assert self.read(client) == self.DOCUMENT
        assert not [call for call in elsewhere.calls if "/files/" in call]


class TestOffline:
    def test_only_what_is_stored_is_served(
        self, make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex
    ) -> None:
        """Upstream isn't asked, although it is there. Everything else is a 404 that says why."""
        fill(make_client(**storing))
        forget(storing)
        elsewhere.calls.clear()
        elsewhere.add_wheel("flask", "3.2.0")
        client = make_client(**storing, PYOCI_UPSTREAM_OFFLINE="yes")
        assert get(client, PAGE).headers["X-PyOCI-Upstream"] == "stored"
        assert download_all(client) == {FLASK: CONTENT, SDIST: SOURCE}
        assert get(client, f"{PAGE}{URL}.metadata").data == make_metadata("flask", "3.1.0")
        name, content = make_wheel("flask", "3.2.0")
        newer = f"{PAGE}+{hashlib.sha256(content).hexdigest()[:16]}/{name}"
        private, absent = f"{INDEX}secret-tool/", f"{INDEX}hello-world/"
        for path in (private, absent, f"{absent}{URL}"):
            answer = get(client, path)
            assert (path, answer.status_code) == (path, 404)
            assert b"PYOCI_UPSTREAM_OFFLINE" in answer.data
        assert get(client, newer).status_code == 404
        assert get(client, private).data.replace(b"secret-tool", b"hello-world") == get(client, absent).data
        assert elsewhere.calls == []

    def test_private_projects_come_first(self, make_client: MakeClient, storing: dict[str, str]) -> None:
        """As always."""
        client = make_client(**storing, PYOCI_UPSTREAM_OFFLINE="yes")
        upload(client)
        assert files(client, f"{INDEX}hello-world/").keys() == {make_wheel()[0]}

    def test_files_in_the_folder(
        self, make_client: MakeClient, storing: dict[str, str], elsewhere: PackageIndex, tmp_path: Path
    ) -> None:
        """With `proxy` those are served that the folder has. METADATA that it hasn't isn't announced."""
        settings = {
            **{name: value for name, value in storing.items() if name != "PYOCI_UPSTREAM_STORE"},
            "PYOCI_UPSTREAM_FILES": "proxy",
            "PYOCI_CACHE_URL": f"file://{tmp_path / 'cache'}",
        }
        assert get(make_client(**settings)).data == CONTENT
        elsewhere.calls.clear()
        client = make_client(**settings, PYOCI_UPSTREAM_OFFLINE="yes")
        until(lambda: files(client), "the page of the folder")
        assert files(client).keys() == {FLASK}
        assert "core-metadata" not in files(client)[FLASK]
        assert get(client).data == CONTENT
        assert get(client, f"{PAGE}{URL}.metadata").status_code == 404
        assert elsewhere.calls == []


class TestStoreThatRefuses:
    """What is served doesn't depend on the store."""

    @pytest.fixture
    def refusing(self, storing: dict[str, str], tmp_path: Path) -> Iterator[tuple[Refusing, dict[str, str]]]:
        registry = Refusing(create_registry_app(tmp_path / "remote", htpasswd=None, local_only=False))
        with served(registry) as url:
            yield registry, {**storing, "PYOCI_UPSTREAM_STORE": f"{url}/upstream"}

    @pytest.mark.parametrize(
        ("method", "status"),
        [("GET", 401), ("GET", 403), ("GET", 500), ("POST", 400), ("POST", 401), ("POST", 403), ("PUT", 413)],
    )
    def test_each_status(
        self,
        make_client: MakeClient,
        refusing: tuple[Refusing, dict[str, str]],
        lines: Lines,
        status: int,
        method: str,
    ) -> None:
        """Files come from upstream, the log has a warning, and no credentials."""
        registry, settings = refusing
        registry.refuses = method, status
        client = make_client(**settings)
        assert download_all(client) == {FLASK: CONTENT, SDIST: SOURCE}
        until(lambda: len(attempts(lines)) == 2 * 3, "the attempts")
        assert {line["file"] for line in attempts(lines)} == {FLASK, SDIST}
        assert registry.refused > 0
        assert get(client).data == CONTENT
        assert get(client, f"{PAGE}{URL}.metadata").status_code == 200


def attempts(lines: Lines) -> list[dict[str, Any]]:
    """The log lines about attempts to store a file that failed."""
    return [line for line in lines.read_lines() if line["event"] == "copy failed"]


class Refusing:
    """A registry that refuses requests of one method."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.refuses = "", 0
        self.refused = 0

    def __call__(self, environ: Any, start_response: Any) -> Any:
        method, status = self.refuses
        if environ["REQUEST_METHOD"] == method and environ["PATH_INFO"] != "/v2/":
            self.refused += 1
            return Response("no", status)(environ, start_response)
        return self._app(environ, start_response)
