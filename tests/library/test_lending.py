"""`pyoci serve --docker-credentials`: requests of this machine use the stored logins, and no others do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from flask.testing import FlaskClient

from pyoci.app import create_app
from pyoci.config import Settings
from pyoci.embedded import Htpasswd, create_registry_app
from pyoci.library.lending import Lender
from tests.builders import make_wheel
from tests.clock import Clock
from tests.library.test_credentials import SECRET, Home, answering, auth
from tests.serving import served

LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
PAGE = "/lab/acme/hello-world/"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The URL of a registry that needs a password."""
    accounts = tmp_path / "accounts"
    accounts.write_text(f"me:{bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()}\n")
    application = create_registry_app(tmp_path / "packages", htpasswd=Htpasswd(accounts), local_only=False)
    with served(application) as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(home: Home, registry: str, clock: Clock) -> FlaskClient:
    """A client of PyOCI, whose user has a helper with the login for the registry; a file is published."""
    home.docker({"credsStore": "test"})
    home.helper("test", answering("me", SECRET))
    settings = Settings.from_environ({"PYOCI_REGISTRIES": f"lab={registry}", "PYOCI_LOG": "off"})
    app = create_app(settings, sleep=lambda _: None, lend=Lender(home.environ, clock))
    client = app.test_client()
    name, content = make_wheel()
    form = {":action": "file_upload", "protocol_version": "1", "content": (_file(content), name)}
    answer = client.post("/lab/acme/", data=form, environ_overrides=LOCAL)
    assert answer.status_code == 200, answer.text
    return client


def _file(content: bytes) -> Any:
    from io import BytesIO

    return BytesIO(content)


def test_a_request_without_credentials_uses_the_stored_login(client: FlaskClient, home: Home) -> None:
    """For the registry that it names. The helper is asked once a minute."""
    for _ in range(3):
        assert client.get(PAGE, environ_overrides=LOCAL).status_code == 200
    assert home.asked.read_text().splitlines() == [f"get {_host(client)}"]


def _host(client: FlaskClient) -> str:
    settings_host: str = client.application.extensions["pyoci"].registries.aliases["lab"].host
    return settings_host


@pytest.mark.parametrize(
    ("environ", "headers"),
    [
        ({"REMOTE_ADDR": "192.0.2.7"}, {}),
        (LOCAL, {"Host": "rebound.example:8080"}),
        (LOCAL, {"Origin": "https://elsewhere.example"}),
        (LOCAL, {"Sec-Fetch-Site": "cross-site"}),
        (LOCAL, {"X-Forwarded-For": "192.0.2.7"}),
        ({**LOCAL, "SERVER_PROTOCOL": "HTTP/1.0"}, {}),
    ],
)
def test_nobody_else_gets_it(client: FlaskClient, environ: dict[str, str], headers: dict[str, str]) -> None:
    """Neither the network, nor a web page, nor a proxy: the registry asks them for a password."""
    assert client.get(PAGE, environ_overrides=environ, headers=headers).status_code == 401


def test_credentials_of_a_request_go_first(client: FlaskClient) -> None:
    """Wrong ones are refused; the stored login doesn't replace them."""
    answer = client.get(PAGE, environ_overrides=LOCAL, auth=("me", "wrong"))
    assert answer.status_code == 401


def test_variables_for_any_host_are_not_lent(client: FlaskClient, home: Home, registry: str) -> None:
    """PYOCI_USERNAME and PYOCI_PASSWORD would go to whatever host a request names."""
    home.docker({})
    environ = {**home.environ, "PYOCI_USERNAME": "me", "PYOCI_PASSWORD": SECRET}
    settings = Settings.from_environ({"PYOCI_REGISTRIES": f"lab={registry}", "PYOCI_LOG": "off"})
    other = create_app(settings, sleep=lambda _: None, lend=Lender(environ)).test_client()
    assert other.get(PAGE, environ_overrides=LOCAL).status_code == 401


def test_a_login_that_can_not_be_read_is_named(client: FlaskClient, home: Home, clock: Clock) -> None:
    """As a 401 with the sentence; after a minute the helper is asked again."""
    home.helper("test", f"echo {SECRET}; exit 3")
    clock.now += 61
    answer = client.get(PAGE, environ_overrides=LOCAL)
    assert answer.status_code == 401
    assert "docker-credential-test failed with exit code 3" in answer.text
    assert SECRET not in answer.text
    home.docker({"auths": {_host(client): auth()}})
    clock.now += 61
    assert client.get(PAGE, environ_overrides=LOCAL).status_code == 200
