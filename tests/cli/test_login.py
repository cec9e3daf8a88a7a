"""`pyoci login` and `pyoci logout`: the list of servers, and logins in Docker's own store."""

from __future__ import annotations

import base64
import json
import os
import pty
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyoci.library.docker import store_login
from pyoci.library.listed_servers import list_server, listed_server, listed_servers
from pyoci.oci.credentials import Basic
from tests.cli.conftest import Run

URL = "https://pypi.example.com/ghcr.io/acme/"
SECRET = "secret-word"
AUTH = {"auth": base64.b64encode(f"me:{SECRET}".encode()).decode()}
HELPER = """#!/bin/sh
# A credential helper that keeps one login, in the folder of the test.
case "$1" in
  store) cat > "$HOME/kept" ;;
  get) read server; echo "$server" >> "$HOME/asked"; test -f "$HOME/kept" && cat "$HOME/kept" \
    || { echo "credentials not found in native keychain"; exit 1; } ;;
  erase) read server; echo "$server" >> "$HOME/erased"; rm "$HOME/kept" ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """Docker's configuration file."""
    (tmp_path / ".docker").mkdir()
    return tmp_path / ".docker" / "config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a credential helper keeps what it got."""
    program = tmp_path / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return tmp_path / "kept"


def listed(home: Path) -> Any:
    return json.loads((home / ".config" / "pyoci" / "servers.json").read_text())["servers"]


def login(*arguments: str, home: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run the verb as a process, with something on its stdin."""
    return subprocess.run(
        [sys.executable, "-m", "pyoci", *arguments],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_server_is_listed_for_the_registry_in_its_path(run: Run, tmp_path: Path, docker: Path) -> None:
    """For all namespaces of it. The stored login is left as it is, and nothing of it is listed."""
    docker.write_text(json.dumps({"auths": {"ghcr.io": AUTH}}))
    done = run("login", URL, "--json")
    assert done.code == 0
    assert done.document == {
        "server": "https://pypi.example.com/ghcr.io/",
        "registry": "ghcr.io",
        "stored": None,
    }
    assert listed(tmp_path) == [{"url": "https://pypi.example.com/ghcr.io/", "registry": "ghcr.io"}]
    assert json.loads(docker.read_text()) == {"auths": {"ghcr.io": AUTH}}


def test_a_short_url_is_listed_with_its_registry(run: Run, tmp_path: Path, docker: Path) -> None:
    """Which the URL doesn't contain; a second login replaces the first."""
    docker.write_text(json.dumps({"auths": {"ghcr.io": AUTH, "quay.io": AUTH}}))
    short = "https://pypi.example.com/tools"
    refused = run("login", short)
    assert refused.code == 2
    assert "doesn't say which registry it is for; expected --registry with its host" in refused.stderr
    for registry in ("quay.io", "ghcr.io"):
        assert run("login", short, "--registry", registry).code == 0
    assert listed(tmp_path) == [{"url": f"{short}/", "registry": "ghcr.io"}]


def test_a_login_goes_to_dockers_file(tmp_path: Path, docker: Path) -> None:
    """As `docker login` writes it, beside what is there; for its owner's eyes alone."""
    docker.write_text(json.dumps({"auths": {"quay.io": AUTH}, "detachKeys": "ctrl-e"}))
    done = login("login", URL, "--username", "me", "--password-stdin", home=tmp_path, given=f"{SECRET}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert SECRET not in done.stdout
    assert json.loads(docker.read_text()) == {
        "auths": {"quay.io": AUTH, "ghcr.io": AUTH},
        "detachKeys": "ctrl-e",
    }
    assert stat.S_IMODE(docker.stat().st_mode) == 0o600
    assert [each.name for each in docker.parent.iterdir()] == ["config.json"]
    assert SECRET not in (tmp_path / ".config" / "pyoci" / "servers.json").read_text()


@pytest.mark.parametrize("config", [{"credsStore": "test"}, {"credHelpers": {"ghcr.io": "test"}}])
def test_a_login_goes_to_the_credential_helper(
    tmp_path: Path, docker: Path, helper: Path, config: dict[str, Any]
) -> None:
    """By its protocol, on its stdin; Docker's file gets no secret."""
    docker.write_text(json.dumps(config))
    done = login("login", "ghcr.io", "--username", "me", "--password-stdin", home=tmp_path, given=SECRET)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the login for ghcr.io is stored in docker-credential-test\n"
    assert json.loads(helper.read_text()) == {"ServerURL": "ghcr.io", "Username": "me", "Secret": SECRET}
    assert json.loads(docker.read_text()) == {**config, "auths": {"ghcr.io": {}}}
    assert not (tmp_path / ".config").exists()  # no server is listed
    assert login("logout", "ghcr.io", home=tmp_path).stdout == "the login for ghcr.io is erased\n"
    assert (tmp_path / "erased").read_text() == "ghcr.io\n"
    assert json.loads(docker.read_text()) == {**config, "auths": {}}


def test_docker_hub_is_stored_under_its_old_name(tmp_path: Path, docker: Path) -> None:
    """The one by which Docker finds it."""
    login("login", "docker.io", "--username", "me", "--password-stdin", home=tmp_path, given=SECRET)
    assert json.loads(docker.read_text()) == {"auths": {"https://index.docker.io/v1/": AUTH}}
    assert login("logout", "docker.io", home=tmp_path).returncode == 0
    assert json.loads(docker.read_text()) == {"auths": {}}


def test_a_password_is_asked_for_where_none_is_stored(tmp_path: Path, docker: Path) -> None:
    """On a terminal, without showing it."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pyoci", "login", URL],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    shown = b""
    for prompt, answer in (
        (b"User name for ghcr.io", b"me\n"),
        (b"Password or token", SECRET.encode() + b"\n"),
    ):
        while prompt not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, answer)
    stdout, _ = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(docker.read_text()) == {"auths": {"ghcr.io": AUTH}}
    assert SECRET.encode() not in shown + stdout


def test_without_a_terminal_the_sentence_says_what_is_missing(tmp_path: Path) -> None:
    """And nothing is listed."""
    done = login("login", URL, home=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "no login for ghcr.io is stored; expected --username and --password-stdin, or a terminal"
    )
    assert not (tmp_path / ".config").exists()


def test_logout_takes_a_server_off_the_list(run: Run, tmp_path: Path, docker: Path) -> None:
    """The login stays, for the registry itself; what was never listed is exit code 4."""
    docker.write_text(json.dumps({"auths": {"ghcr.io": AUTH}}))
    other = "https://other.example/ghcr.io/acme/"
    run("login", URL)
    run("login", other)
    done = run("logout", URL, "--json")
    assert done.document == {"servers": ["https://pypi.example.com/ghcr.io/"], "registry": None}
    assert [each["url"] for each in listed(tmp_path)] == ["https://other.example/ghcr.io/"]
    assert run("logout", URL).code == 4
    assert run("logout", "quay.io").code == 4
    assert json.loads(docker.read_text()) == {"auths": {"ghcr.io": AUTH}}


def test_logout_erases_a_login(run: Run, docker: Path) -> None:
    """In every spelling of the host; entries of its namespaces stay."""
    auths = {"ghcr.io": AUTH, "https://ghcr.io/v2/": AUTH, "ghcr.io/acme": AUTH, "quay.io": AUTH}
    docker.write_text(json.dumps({"auths": auths}))
    assert run("logout", "ghcr.io", "--json").document == {"servers": [], "registry": "ghcr.io"}
    assert json.loads(docker.read_text()) == {"auths": {"ghcr.io/acme": AUTH, "quay.io": AUTH}}


@pytest.mark.parametrize(
    ("address", "options", "part"),
    [
        ("https://pypi.example.com/ghcr.io/../x/", (), "is not a URL that can be listed"),
        ("https://me:hunter2@pypi.example.com/ghcr.io/acme/", (), "has an @; expected one without user"),
        ("https://pypi.example.com/ghcr.io/acme/?a=b", (), "is not a URL that can be listed"),
        ("https://pypi.example.com:port/ghcr.io/", (), "is not a URL that can be listed"),
        ("https://pypi.example.com/", ("--registry", "not a host"), "not a host"),
        ("acme", (), "is not a registry; expected its host, like ghcr.io"),
        ("ghcr.io", ("--registry", "quay.io"), "--registry is for the URL of a PyOCI server"),
        ("ghcr.io", ("--username", "me"), "need each other"),
    ],
)
def test_bad_input_gets_a_sentence(
    run: Run, tmp_path: Path, address: str, options: tuple[str, ...], part: str
) -> None:
    """And nothing is stored."""
    done = run("login", address, *options)
    assert done.code == 2
    assert part in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr
    assert not (tmp_path / ".config").exists()


@pytest.mark.parametrize("username", ["a:b", "<token>", "a\nb"])
def test_a_user_name_that_docker_would_misread(tmp_path: Path, username: str) -> None:
    """A colon ends the name; `<token>` marks an identity token."""
    done = login("login", "ghcr.io", "--username", username, "--password-stdin", home=tmp_path, given=SECRET)
    assert done.returncode == 2
    assert "is not a user name" in done.stderr
    assert not (tmp_path / ".docker").exists()


def test_a_broken_file_of_docker_is_left_as_it_is(tmp_path: Path, docker: Path) -> None:
    """It may have logins that its owner can still save."""
    docker.write_text('{"auths": ')
    done = login("login", "ghcr.io", "--username", "me", "--password-stdin", home=tmp_path, given=SECRET)
    assert done.returncode == 3
    assert "config.json is not JSON of credentials" in done.stderr
    assert docker.read_text() == '{"auths": '


def test_a_linked_file_stays_a_link(tmp_path: Path, docker: Path) -> None:
    """Some keep their configuration in a repository and link to it."""
    real = tmp_path / "dotfiles" / "docker.json"
    real.parent.mkdir()
    real.write_text("{}")
    docker.symlink_to(real)
    login("login", "ghcr.io", "--username", "me", "--password-stdin", home=tmp_path, given=SECRET)
    assert docker.is_symlink()
    assert json.loads(real.read_text()) == {"auths": {"ghcr.io": AUTH}}


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each has its login and its server in the end."""
    environ = {"HOME": str(tmp_path)}
    names = [f"registry{i}.example" for i in range(40)]

    def one(name: str) -> None:
        store_login(name, Basic("me", SECRET), environ, seconds=20.0)
        list_server(listed_server(f"https://pypi.example.com/{name}/"), environ)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, names))
    assert json.loads((tmp_path / ".docker" / "config.json").read_text())["auths"].keys() == set(names)
    assert sorted(each.registry for each in listed_servers(environ)) == sorted(names)
