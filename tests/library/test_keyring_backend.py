"""What clients get from the real keyring program: logins of Docker's configuration, for listed servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyoci.library.listed_servers import list_server, listed_server
from tests.library.test_credentials import ME, SECRET, Home, answering, auth

# Not by its script, which names the folder that the checkout was in when it was installed.
KEYRING = (sys.executable, "-P", "-m", "keyring")
SERVER = "https://pypi.example.com/ghcr.io/acme/"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose Docker has a login for ghcr.io, and where one server is listed for it."""
    home = Home(tmp_path)
    home.docker({"auths": {"ghcr.io": auth(), "quay.io": auth("other", "other-secret")}})
    list_server(listed_server(SERVER), home.environ)
    return home


def ask(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the keyring program as a client does."""
    return subprocess.run(
        [*KEYRING, *arguments],
        cwd=home.directory,
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def gets_nothing(done: subprocess.CompletedProcess[str]) -> bool:
    """keyring's answer where it has none, without a word."""
    return (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_keyring_finds_the_backend(home: Home) -> None:
    """It is an entry point of this distribution."""
    assert "pyoci.library.keyring_backend.PyOCIKeyring (priority: 9)" in ask(home, "--list-backends").stdout


def test_what_pip_asks(home: Home) -> None:
    """`--keyring-provider subprocess`: JSON, for the index and for the URL of a file."""
    for url in (SERVER, SERVER.rstrip("/"), f"{SERVER}files/hello_world-1.0-py3-none-any.whl"):
        done = ask(home, "--mode=creds", "--output=json", "get", url)
        assert json.loads(done.stdout) == {"username": ME.username, "password": SECRET}
    assert gets_nothing(ask(home, "--mode=creds", "--output=json", "get", "pypi.example.com"))


def test_what_uv_asks_with_a_user_name_in_the_url(home: Home) -> None:
    """The URL, then the host: the password alone is the answer."""
    assert ask(home, "get", SERVER, "me").stdout == f"{SECRET}\n"
    assert gets_nothing(ask(home, "get", SERVER, "someone-else"))
    assert gets_nothing(ask(home, "get", "pypi.example.com", "me"))


def test_what_uv_asks_with_authenticate_always(home: Home) -> None:
    """The URL, then host and port, then the origin, which get nothing."""
    assert ask(home, "get", SERVER, "--mode", "creds").stdout == f"me\n{SECRET}\n"
    for bare in ("pypi.example.com", "pypi.example.com:443", "https://pypi.example.com"):
        assert gets_nothing(ask(home, "get", bare, "--mode", "creds"))


def test_what_twine_and_poetry_ask(home: Home) -> None:
    """Both import keyring: first for a user name, then for the password of it."""
    script = f"""
import keyring
print(keyring.get_credential({SERVER!r}, None).username, keyring.get_password({SERVER!r}, "me"))
print(keyring.get_credential("poetry-repository-acme", None), keyring.get_password("pypi.example.com", "me"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == f"me {SECRET}\nNone None\n"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/ghcr.io/acme/",
        "https://pypi.example.com.evil.example/ghcr.io/acme/",
        "https://pypi.example.com@evil.example/ghcr.io/acme/",
        "http://pypi.example.com/ghcr.io/acme/",
        "https://pypi.example.com:8443/ghcr.io/acme/",
        "https://pypi.example.com/quay.io/acme/",
        "https://pypi.example.com/ghcr.io.evil/acme/",
        "https://pypi.example.com/other/ghcr.io/acme/",
        "https://pypi.example.com/ghcr.io/../other/",
        "https://pypi.example.com/ghcr.io/%2e%2E/other/",
        "https://pypi.example.com/ghcr.io/%2F..%2Fother/",
        "https://pypi.example.com\\@evil.example/ghcr.io/acme/",
        "https://[::1/ghcr.io/acme/",
        "ghcr.io",
        "https://ghcr.io/",
        "ghcr.io/acme",
    ],
)
def test_anything_else_gets_nothing(home: Home, url: str) -> None:
    """Another server, scheme, port, registry or path; and the registry itself, which isn't PyOCI."""
    assert gets_nothing(ask(home, "--mode=creds", "--output=json", "get", url))


def test_a_short_url_gets_the_login_that_it_was_listed_with(home: Home) -> None:
    """Its URL doesn't say which registry it stands for."""
    url = "https://pypi.example.com/tools/"
    assert gets_nothing(ask(home, "--mode=creds", "get", url))
    list_server(listed_server(url, "quay.io"), home.environ)
    assert ask(home, "--mode=creds", "get", url).stdout == "other\nother-secret\n"
    assert gets_nothing(ask(home, "--mode=creds", "get", "https://pypi.example.com/toolshed/"))


def test_a_whole_server_is_not_its_bare_host(home: Home) -> None:
    """A server with one registry may be listed as a whole; the indexes of it alone get the login."""
    list_server(listed_server("http://localhost:8080/", "quay.io"), home.environ)
    assert ask(home, "--mode=creds", "get", "http://localhost:8080/acme/").stdout == "other\nother-secret\n"
    for bare in ("http://localhost:8080", "http://localhost:8080/", "localhost:8080"):
        assert gets_nothing(ask(home, "--mode=creds", "get", bare))


def test_an_entry_of_a_namespace_is_for_its_indexes(home: Home) -> None:
    """As skopeo and podman store it."""
    home.docker({"auths": {"ghcr.io/acme": auth()}})
    assert ask(home, "--mode=creds", "get", SERVER).stdout == f"me\n{SECRET}\n"
    assert gets_nothing(ask(home, "--mode=creds", "get", "https://pypi.example.com/ghcr.io/other/"))


def test_a_credential_helper_is_asked_for_the_registry(home: Home) -> None:
    """Its answer is passed on; keyring is asked by nobody again."""
    home.docker({"credHelpers": {"ghcr.io": "test"}})
    home.helper("test", answering("me", SECRET))
    assert ask(home, "--mode=creds", "get", SERVER).stdout == f"me\n{SECRET}\n"
    assert home.asked.read_text() == "get ghcr.io\n"


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (f"echo {SECRET}", "pyoci: the answer of docker-credential-test can't be read; expected JSON"),
        (answering("<token>", SECRET), "pyoci: the login for ghcr.io is an identity token"),
    ],
)
def test_a_login_that_can_not_be_used_gets_a_sentence(home: Home, script: str, sentence: str) -> None:
    """On stderr, without the secret and without a traceback; the client gets nothing."""
    home.docker({"credsStore": "test"})
    home.helper("test", script)
    done = ask(home, "--mode=creds", "get", SERVER)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
    assert SECRET not in done.stderr


@pytest.mark.parametrize("text", ["{", "[]", '{"servers": 5}', '{"servers": [{"url": "x"}]}'])
def test_a_broken_list_gets_a_sentence(home: Home, text: str) -> None:
    """Which names the file."""
    (home.directory / ".config" / "pyoci" / "servers.json").write_text(text)
    done = ask(home, "--mode=creds", "get", SERVER)
    assert (done.returncode, done.stdout) == (1, "")
    assert "servers.json can't be read; expected the list that `pyoci login` writes" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_keyring_of_the_user_still_stores_passwords(home: Home) -> None:
    """This backend only reads: it leaves `keyring set` to others, and says why where there are none."""
    script = f"""
from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend
from pyoci.library.keyring_backend import PyOCIKeyring
stored = {{}}
class Desktop(KeyringBackend):
    priority = 5
    def get_password(self, service, username): return stored.get((service, username))
    def set_password(self, service, username, password): stored[service, username] = password
chainer = ChainerBackend()
chainer.set_password("elsewhere", "me", "word")
print(chainer.get_password("elsewhere", "me"), chainer.get_password({SERVER!r}, "me"))
try:
    PyOCIKeyring().set_password("elsewhere", "me", "word")
except Exception as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == f"word {SECRET}\nPyOCI's keyring only reads; `pyoci login` stores passwords\n"
