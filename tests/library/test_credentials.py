"""Where credentials come from: the environment, Docker's files and helpers, the keyring, netrc."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.errors import InvalidRequest, Unauthorized
from pyoci.library import Anonymous, Basic, Credentials, IdentityToken, find_credentials
from tests.waiting import until

SECRET = "secret-word"
ME = Basic("me", SECRET)


class Home:
    """A home directory of one test, and a PATH on which only its own programs and the system's are."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.programs = directory / "bin"
        self.programs.mkdir()
        self.environ = {"HOME": str(directory), "PATH": f"{self.programs}:/usr/bin:/bin"}

    def docker(self, config: object) -> None:
        """Write ~/.docker/config.json."""
        (self.directory / ".docker").mkdir(exist_ok=True)
        text = config if isinstance(config, str) else json.dumps(config)
        (self.directory / ".docker" / "config.json").write_text(text)

    def helper(self, name: str, script: str) -> None:
        """Install docker-credential-<name>, a script of sh. What it is asked stands in $server."""
        program = self.programs / f"docker-credential-{name}"
        program.write_text(f'#!/bin/sh\nserver=$(cat)\necho "$1 $server" >> "{self.asked}"\n{script}\n')
        program.chmod(0o755)

    @property
    def asked(self) -> Path:
        return self.directory / "asked"

    def find(self, host: str, **options: Any) -> Credentials:
        return find_credentials(host, self.environ, **{"seconds": 20.0, **options})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def auth(username: str = "me", password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def answering(username: str, secret: str) -> str:
    return f"echo '{json.dumps({'ServerURL': 'x', 'Username': username, 'Secret': secret})}'"


def test_without_any_the_caller_is_anonymous(home: Home) -> None:
    """An empty Docker configuration has none."""
    assert home.find("ghcr.io") == Anonymous()
    home.docker({})
    assert home.find("ghcr.io") == Anonymous()


def test_the_environment_comes_first(home: Home) -> None:
    """Before what Docker has."""
    home.docker({"auths": {"ghcr.io": auth("other", "other-secret")}})
    home.environ |= {"PYOCI_USERNAME": "me", "PYOCI_PASSWORD": SECRET}
    assert home.find("ghcr.io") == ME


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("ghcr.io", "ghcr.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("ghcr.io", "https://ghcr.io/v2/"),
        ("registry.example:5000", "registry.example:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("registry-1.docker.io", "https://index.docker.io/v1/"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_what_docker_login_stored(home: Home, host: str, key: str) -> None:
    """Docker and its relatives spell the keys in several ways."""
    home.docker({"auths": {key: auth(), "other.example": auth("other", "other")}})
    assert home.find(host) == ME


@pytest.mark.parametrize("host", ["ghcr.io.evil.example", "evil.example", "ghcr.io:8443", "hcr.io"])
def test_another_host_gets_nothing(home: Home, host: str) -> None:
    """Nor another port of the same host."""
    home.docker({"auths": {"ghcr.io": auth()}})
    assert home.find(host) == Anonymous()


def test_an_entry_of_a_namespace_is_for_that_alone(home: Home) -> None:
    """As skopeo and podman store it; the longest one counts."""
    auths = {"quay.io": auth("all", "a"), "quay.io/acme": auth(), "quay.io/acme/tools": auth("tools", "t")}
    home.docker({"auths": auths})
    assert home.find("quay.io", path="acme/python") == ME
    assert home.find("quay.io", path="acme/tools") == Basic("tools", "t")
    assert home.find("quay.io", path="acmes") == Basic("all", "a")


def test_the_file_of_skopeo_and_podman(home: Home) -> None:
    """It goes before Docker's, whose entries count where it has none."""
    file = home.directory / "auth.json"
    file.write_text(json.dumps({"auths": {"quay.io": auth()}}))
    home.environ["REGISTRY_AUTH_FILE"] = str(file)
    home.docker({"auths": {"quay.io": auth("other", "x"), "ghcr.io": auth("docker", "d")}})
    assert home.find("quay.io") == ME
    assert home.find("ghcr.io") == Basic("docker", "d")


def test_an_identity_token(home: Home) -> None:
    """In the file, and as a helper marks it."""
    home.docker({"auths": {"acr.example": {**auth("0000", ""), "identitytoken": SECRET}}})
    assert home.find("acr.example") == IdentityToken(SECRET)
    home.docker({"credsStore": "test"})
    home.helper("test", answering("<token>", SECRET))
    assert home.find("acr.example") == IdentityToken(SECRET)
    assert SECRET not in repr(home.find("acr.example"))


@pytest.mark.parametrize(
    "config", [{"credsStore": "test"}, {"credHelpers": {"ghcr.io": "test"}, "credsStore": "never-asked"}]
)
def test_a_helper_is_asked_by_its_protocol(home: Home, config: dict[str, Any]) -> None:
    """`get` is its argument, the server its stdin; the helper of a registry goes before that of all."""
    home.docker({**config, "auths": {"ghcr.io": {}}})
    home.helper("test", answering("me", SECRET))
    assert home.find("ghcr.io") == ME
    assert home.asked.read_text() == "get ghcr.io\n"


def test_docker_hub_has_its_own_name_in_helpers(home: Home) -> None:
    """The one that `docker login` gives it."""
    home.docker({"credsStore": "test"})
    home.helper("test", answering("me", SECRET))
    assert home.find("registry-1.docker.io") == ME
    assert home.asked.read_text() == "get https://index.docker.io/v1/\n"


def test_a_helper_that_has_none_is_no_failure(home: Home) -> None:
    """The file may have some, or the caller is anonymous."""
    home.docker({"credsStore": "test", "auths": {"quay.io": auth()}})
    home.helper("test", "echo 'credentials not found in native keychain'; exit 1")
    assert home.find("ghcr.io") == Anonymous()
    assert home.find("quay.io") == ME


@pytest.mark.parametrize(
    ("script", "part"),
    [
        (f"echo '{SECRET} is no JSON'", "the answer of docker-credential-test can't be read; expected JSON"),
        (f"echo '[\"{SECRET}\"]'", "the answer of docker-credential-test can't be read; expected JSON"),
        (f'echo \'{{"Username": ["me"], "Secret": "{SECRET}"}}\'', "is no login"),
        (f"echo '{SECRET}' >&2; exit 3", "failed with exit code 3"),
        ("yes secret-word", "more than"),
    ],
)
def test_a_helper_that_answers_nonsense_gets_a_sentence(home: Home, script: str, part: str) -> None:
    """Which names it, and repeats nothing of what it said."""
    home.docker({"credsStore": "test"})
    home.helper("test", script)
    with pytest.raises(Unauthorized, match="docker-credential-test") as caught:
        home.find("ghcr.io")
    assert part in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_helper_that_hangs_is_ended_with_its_children(home: Home) -> None:
    """It has a limited time, also where a child of it keeps its output open."""
    home.docker({"credsStore": "test"})
    home.helper("test", f"sleep 1000 & echo $! > {home.directory}/child; sleep 1000")
    with pytest.raises(Unauthorized, match=r"docker-credential-test did not answer within 2 seconds"):
        home.find("ghcr.io", seconds=2.0)
    child = int((home.directory / "child").read_text())
    until(lambda: not _is_running(child), "the end of the child")


def _is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_helper_that_is_not_installed(home: Home) -> None:
    """The sentence says which file names it."""
    home.docker({"credsStore": "desktop"})
    with pytest.raises(Unauthorized, match=r"config\.json names docker-credential-desktop, which is not"):
        home.find("ghcr.io")


@pytest.mark.parametrize("name", ["../evil", "a b", 5])
def test_a_helper_is_a_word(home: Home, name: object) -> None:
    """It can't be a path to another program."""
    home.docker({"credsStore": name})
    with pytest.raises(Unauthorized, match="names a credential helper with an invalid name; expected a word"):
        home.find("ghcr.io")


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        "[" * 100_000,
        {"auths": {"ghcr.io": {"auth": "%%%"}}},
        {"auths": {"ghcr.io": {"auth": base64.b64encode(b"secret-word").decode()}}},
        {"auths": {"ghcr.io": {"auth": 5}}},
    ],
)
def test_a_broken_file_gets_a_sentence(home: Home, config: object) -> None:
    """Which names it, and shows nothing of it."""
    home.docker(config)
    with pytest.raises(Unauthorized, match=r"config\.json") as caught:
        home.find("ghcr.io")
    assert SECRET not in str(caught.value)


def test_netrc_counts_only_when_it_is_asked_for(home: Home) -> None:
    """Programs that are not asked to read it don't."""
    file = home.directory / ".netrc"
    file.write_text(f"machine ghcr.io login me password {SECRET}\n")
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert home.find("ghcr.io") == Anonymous()
    assert home.find("ghcr.io", netrc=True) == ME
    assert home.find("quay.io", netrc=True) == Anonymous()
    file.write_text(f"machine localhost login me password {SECRET}\ndefault login other password x\n")
    assert home.find("localhost:5000", netrc=True) == ME
    file.write_text(f"machine {SECRET} what\n")
    with pytest.raises(Unauthorized, match=r"\.netrc") as caught:
        home.find("ghcr.io", netrc=True)
    assert SECRET not in str(caught.value)


def test_half_of_a_login_is_a_mistake(home: Home) -> None:
    """The sentence says which half is missing."""
    home.environ["PYOCI_USERNAME"] = "me"
    with pytest.raises(InvalidRequest, match="PYOCI_USERNAME is set without PYOCI_PASSWORD"):
        home.find("ghcr.io")


class TestKeyring:
    """The keyring, with a backend of the test."""

    @pytest.fixture
    def known(self) -> Iterator[dict[str, Any]]:
        """Passwords by service: what the backend has."""
        import keyring
        from keyring.backend import KeyringBackend
        from keyring.credentials import SimpleCredential

        # The first call chooses among all classes of backends, and must not find the one of this test.
        before = keyring.get_keyring()
        known: dict[str, Any] = {}

        def get_credential(_backend: Any, service: str, _username: str | None) -> Any:
            found = known.get(service)
            if isinstance(found, Exception):
                raise found
            return SimpleCredential("me", found) if found else None

        nothing = {"get_password": lambda *_: None, "set_password": lambda *_: None}
        backend: Any = type(
            "Backend", (KeyringBackend,), {**nothing, "get_credential": get_credential, "priority": 0}
        )
        keyring.set_keyring(backend())
        yield known
        keyring.set_keyring(before)

    @pytest.mark.parametrize("service", ["https://ghcr.io/", "ghcr.io"])
    def test_it_is_asked_by_host_and_url(self, home: Home, known: dict[str, Any], service: str) -> None:
        """After Docker."""
        known[service] = SECRET
        assert home.find("ghcr.io") == ME
        assert home.find("quay.io") == Anonymous()
        hint = "; the login came from the keyring; `pyoci login ghcr.io` stores another one"
        assert home.find("ghcr.io").hint == hint
        home.docker({"auths": {"ghcr.io": auth("docker", "d")}})
        assert home.find("ghcr.io") == Basic("docker", "d")

    def test_a_locked_one_has_none(self, home: Home, known: dict[str, Any]) -> None:
        """So has one without a backend."""
        from keyring.errors import KeyringLocked

        known["https://ghcr.io/"] = KeyringLocked()
        assert home.find("ghcr.io") == Anonymous()

    def test_one_that_breaks_gets_a_sentence(self, home: Home, known: dict[str, Any]) -> None:
        """Without what it said."""
        known["https://ghcr.io/"] = RuntimeError(SECRET)
        with pytest.raises(Unauthorized, match="RuntimeError") as caught:
            home.find("ghcr.io")
        assert SECRET not in str(caught.value)


def test_the_helper_gets_the_environment(home: Home) -> None:
    """`pass` needs HOME, for instance; os.environ is not what counts."""
    home.docker({"credsStore": "test"})
    home.helper("test", 'test "$HOME" = "' + str(home.directory) + '" && ' + answering("me", SECRET))
    assert os.environ.get("HOME") != str(home.directory)
    assert home.find("ghcr.io") == ME
