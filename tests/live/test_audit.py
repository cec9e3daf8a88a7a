"""uv audit and pip-audit through the relay: private names reach nobody, whatever the client sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Response

from tests.builders import make_wheel
from tests.live.clients import Clients, Outcome
from tests.live.conftest import WRITER
from tests.live.pyprojects import pyproject
from tests.live.servers import Port, Server, Servers, htpasswd, start_pyoci
from tests.osv_service import VulnerabilityService, vulnerability_service
from tests.upstreams import PackageIndex, package_index

BUG = "GHSA-jfh8-c2jp-5v3q"
UPLOAD = {":action": "file_upload", "protocol_version": "1", "name": "acme-tool", "version": "1.0"}


@pytest.fixture(scope="module")
def shared_service() -> Iterator[VulnerabilityService]:
    """It knows a vulnerability of a public project. Somebody has given it one of a private name as well."""
    with vulnerability_service() as service:
        service.add("sunshine", BUG)
        service.add("acme-tool", "GHSA-2222-2222-2222")
        yield service


@pytest.fixture
def service(shared_service: VulnerabilityService) -> Iterator[VulnerabilityService]:
    """The service, which answers again after each test."""
    yield shared_service
    shared_service.answer = None


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[PackageIndex]:
    with package_index() as elsewhere:
        elsewhere.add_wheel("sunshine", "3.1")
        yield elsewhere


@pytest.fixture(scope="module")
def relay(
    servers: Servers,
    ports: Callable[[str], Port],
    shared_service: VulnerabilityService,
    elsewhere: PackageIndex,
) -> Server:
    """Its registry needs a password, and has acme-tool, which requires sunshine."""
    settings = {
        "PYOCI_EMBEDDED": str(servers.folder / "audited"),
        "PYOCI_EMBEDDED_HTPASSWD": str(htpasswd(servers.folder / "audited.htpasswd", **dict([WRITER]))),
        "PYOCI_DEFAULT_INDEX": "local/acme",
        "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
        "PYOCI_OSV_URL": shared_service.url,
        "WEB_CONCURRENCY": "2",
    }
    server = start_pyoci(servers, "audited", ports("audited"), **settings)
    name, content = make_wheel("acme-tool", requires=["sunshine"])
    upload = requests.post(
        f"{server.url}/simple/", UPLOAD, files={"content": (name, content)}, auth=WRITER, timeout=60
    )
    assert upload.status_code == 200, upload.text
    return server


@pytest.fixture
def project(clients: Clients, relay: Server, tmp_path: Path) -> Path:
    """A project with a lock file that has both. The password is in ~/.netrc."""
    login, password = WRITER
    netrc = clients.home / ".netrc"
    netrc.write_text(f'machine 127.0.0.1\nlogin {login}\npassword "{password}"\n')
    netrc.chmod(0o600)
    (tmp_path / "pyproject.toml").write_text(pyproject("uv", f"{relay.url}/simple/", "acme-tool"))
    clients.run("uv", "lock", cwd=tmp_path)
    lock = (tmp_path / "uv.lock").read_text()
    assert "acme-tool" in lock
    assert "sunshine" in lock
    return tmp_path


def uv_audit(clients: Clients, relay: Server, project: Path) -> Outcome:
    url = f"{relay.url}/simple/+osv/"
    return clients.attempt("uv", "audit", "--frozen", "--service-url", url, cwd=project, UV_HTTP_RETRIES="0")


def pip_audit(clients: Clients, relay: Server, project: Path) -> Outcome:
    (project / "requirements.txt").write_text("acme-tool==1.0\nsunshine==3.1\n")
    url = f"{relay.url}/simple/+osv/v1/query"
    how = ("-r", "requirements.txt", "--no-deps", "--disable-pip", "--progress-spinner", "off")
    return clients.attempt("pip-audit", *how, "-s", "osv", "--osv-url", url, cwd=project)


AUDITS = [
    pytest.param(uv_audit, id="uv", marks=pytest.mark.live("uv")),
    pytest.param(pip_audit, id="pip-audit", marks=pytest.mark.live("uv", "pip-audit")),
]


@pytest.mark.parametrize("audit", AUDITS)
def test_an_audit(
    audit: Callable[[Clients, Server, Path], Outcome],
    clients: Clients,
    relay: Server,
    service: VulnerabilityService,
    project: Path,
) -> None:
    """The vulnerability of the public project is found, also while the service is down. The private name
    appears in no request to it, and in no line about names that were sent.
    """
    service.answer = None
    for _ in range(2):
        outcome = audit(clients, relay, project)
        assert outcome.code == 1, str(outcome)
        assert BUG in outcome.output
        assert "GHSA-2222" not in outcome.output
        service.answer = lambda _: Response("down", 503)
    assert service.names()
    assert set(service.names()) == {"sunshine"}
    sent = [request.path + str(request.headers) for request in service.requests]
    assert not [each for each in (*sent, json.dumps(service.bodies)) if "acme" in each or "Basic" in each]
    logged = [line for line in relay.log.read_text().splitlines() if '"names"' in line]
    assert logged
    assert not [line for line in logged if "acme" in line]


@pytest.mark.live("uv")
def test_an_audit_without_a_password(
    clients: Clients, relay: Server, service: VulnerabilityService, project: Path
) -> None:
    """It fails, and doesn't report that all is well. Nothing reaches the service."""
    (clients.home / ".netrc").unlink()
    before = len(service.calls)
    outcome = uv_audit(clients, relay, project)
    assert outcome.code == 2, str(outcome)
    assert "401" in outcome.output
    assert len(service.calls) == before


@pytest.mark.live("uv")
def test_an_audit_names_an_adverse_status(
    clients: Clients, relay: Server, service: VulnerabilityService, project: Path
) -> None:
    """uv reads it from the project's page. The private name reaches nobody."""
    page, reason = f"{relay.url}/simple/acme-tool/", "replaced by acme-tools"
    for status in ("deprecated", "active"):
        change = {"status": status, "reason": reason}
        assert requests.patch(page, json=change, auth=WRITER, timeout=60).status_code == 200
        output = " ".join(uv_audit(clients, relay, project).output.split())
        assert "acme-tool" not in service.names()
        assert ("deprecated" in output and reason in output) is (status == "deprecated"), output
