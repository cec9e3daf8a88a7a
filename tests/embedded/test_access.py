"""Who has access: the password file, and the rule for a registry without one."""

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import pytest
from flask import Flask

from pyoci.embedded import Htpasswd, create_blueprint, create_registry_app, refusal_for_remote_peer
from pyoci.embedded.errors import Refusal
from tests.embedded.builders import Wire, code_of, make_image_index

ANNA, BEN = "anna's password", "ben's password"


def hash_of(password: str, prefix: bytes = b"2b") -> str:
    return (
        bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4))
        .replace(b"$2b$", b"$" + prefix + b"$")
        .decode()
    )


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


@dataclass
class Watch:
    """A monotonic clock that the test advances."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Accounts:
    """A password file that can be rewritten. `checked` has the hashes that bcrypt has computed."""

    path: Path
    watch: Watch = field(default_factory=Watch)
    checked: list[bytes] = field(default_factory=list)

    def write(self, text: str) -> None:
        before = self.path.stat().st_mtime_ns if self.path.exists() else 0
        self.path.write_text(text)
        if self.path.stat().st_mtime_ns == before:  # the file system's clock ticks coarsely
            os.utime(self.path, ns=(before + 1, before + 1))

    def read(self) -> Htpasswd:
        return Htpasswd(self.path, clock=self.watch, check=self._check)

    def _check(self, password: bytes, known: bytes) -> bool:
        self.checked.append(known)
        return bcrypt.checkpw(password, known)


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    accounts = Accounts(tmp_path / "htpasswd")
    accounts.write(f"# people\n\nanna:{hash_of(ANNA)}\nben:{hash_of(BEN, b'2y')}\nanna:{hash_of('second')}\n")
    return accounts


@pytest.mark.parametrize(
    ("username", "password", "allowed"),
    [
        ("anna", ANNA, True),
        ("ben", BEN, True),
        ("anna", BEN, False),
        ("anna", "second", False),
        ("anna", "", False),
        ("carl", ANNA, False),
        ("# people", "", False),
        ("", "", False),
    ],
)
def test_a_password_gives_its_user_access(
    accounts: Accounts, username: str, password: str, allowed: bool
) -> None:
    """The first line of a user counts."""
    htpasswd = accounts.read()
    assert htpasswd.allows(username, password) is allowed
    assert htpasswd.allows(username, password) is allowed


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
def test_every_spelling_of_bcrypt_is_read(accounts: Accounts, prefix: bytes) -> None:
    """htpasswd writes $2y$, others $2a$ and $2b$."""
    accounts.write(f"dora:{hash_of('x', prefix)}")
    assert accounts.read().allows("dora", "x")


def test_a_long_password_counts_to_its_72nd_byte(accounts: Accounts) -> None:
    """bcrypt uses 72 bytes, and htpasswd cuts there."""
    accounts.write(f"dora:{hash_of('x' * 80)}")
    assert accounts.read().allows("dora", "x" * 80)
    assert not accounts.read().allows("dora", "x" * 71)


def test_an_unknown_user_costs_as_much_as_a_known_one(accounts: Accounts) -> None:
    """The time of an answer doesn't reveal whether a user exists: bcrypt runs for both,
    at the highest cost.
    """
    accounts.write(f"anna:{hash_of(ANNA)}\nben:{hash_of(BEN).replace('$04$', '$05$')}")
    htpasswd = accounts.read()
    assert not htpasswd.allows("nobody", "wrong")
    assert not htpasswd.allows("ben", "wrong")
    assert [checked[:7] for checked in accounts.checked] == [b"$2b$05$"] * 2


def test_a_success_is_cached_for_a_minute(accounts: Accounts) -> None:
    """The second check of the same credentials needs no bcrypt. A failure isn't cached."""
    htpasswd = accounts.read()
    counts = []
    for seconds, password in ((0, ANNA), (59, ANNA), (2, ANNA), (0, "wrong"), (0, "wrong")):
        accounts.watch.now += seconds
        htpasswd.allows("anna", password)
        counts.append(len(accounts.checked))
    assert counts == [1, 1, 2, 3, 4]


def test_the_cache_of_successes_has_a_bound(accounts: Accounts) -> None:
    """A user who is evicted is checked again."""
    password = hash_of("x")
    accounts.write("\n".join(f"user{number}:{password}" for number in range(1030)))
    htpasswd = accounts.read()
    for number in (*range(1030), 0):
        assert htpasswd.allows(f"user{number}", "x")


def test_a_changed_file_counts_at_once(accounts: Accounts) -> None:
    """A removed user loses access although cached, and a new user gets it."""
    htpasswd = accounts.read()
    assert htpasswd.allows("anna", ANNA)
    accounts.write(f"carl:{hash_of('new')}")
    assert not htpasswd.allows("anna", ANNA)
    assert htpasswd.allows("carl", "new")


@pytest.mark.parametrize("damage", ["", "anna:secret", None], ids=["empty", "not bcrypt", "gone"])
def test_a_broken_file_gives_no_access(accounts: Accounts, damage: str | None) -> None:
    """While the file can't be read, every request is refused with a sentence."""
    htpasswd = accounts.read()
    whole = accounts.path.read_text()
    assert htpasswd.allows("anna", ANNA)
    if damage is None:
        accounts.path.unlink()
    else:
        accounts.write(damage)
    with pytest.raises(Refusal) as caught:
        htpasswd.allows("anna", ANNA)
    assert (caught.value.code, caught.value.status) == ("UNAVAILABLE", 503)
    accounts.write(whole)
    assert htpasswd.allows("anna", ANNA)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("anna:secret-text\n\nben:{SHA}secret-text", ["line 1 ", "line 3 "]),
        ("anna", ["line 1 "]),
        ("anna:$2y$31$" + "a" * 53, ["line 1 "]),
        ("anna:$2y$04$" + "a" * 52, ["line 1 "]),
        ("# nobody", ["has no users"]),
        ("", ["has no users"]),
    ],
)
def test_a_wrong_file_stops_the_start(accounts: Accounts, text: str, mistakes: list[str]) -> None:
    """One message has the numbers of all wrong lines, and nothing of their content."""
    accounts.write(text)
    with pytest.raises(ValueError, match="htpasswd") as caught:
        accounts.read()
    assert all(mistake in str(caught.value) for mistake in mistakes)
    assert "secret-text" not in str(caught.value)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"anna:\xff"], ids=["missing", "no text"])
def test_an_unreadable_file_stops_the_start(accounts: Accounts, content: bytes | None) -> None:
    """The message has its path."""
    accounts.path.unlink() if content is None else accounts.path.write_bytes(content)
    with pytest.raises(ValueError, match="can't be read"):
        accounts.read()


@pytest.fixture
def guarded(directory: Path, accounts: Accounts) -> Wire:
    app = create_registry_app(directory, htpasswd=accounts.read(), local_only=False)
    return Wire(app.test_client())


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nobody"),
        pytest.param(basic("anna", "wrong"), id="wrong password"),
        pytest.param(basic("carl", ANNA), id="unknown user"),
        pytest.param({"Authorization": "Bearer token"}, id="bearer"),
        pytest.param({"Authorization": "Basic ???"}, id="no base64"),
        pytest.param({"Authorization": "Digest x"}, id="another scheme"),
    ],
)
@pytest.mark.parametrize("path", ["", "_catalog", "acme/hello/tags/list", "nonsense"])
def test_without_a_password_every_request_gets_401(guarded: Wire, headers: dict[str, str], path: str) -> None:
    """Wrong credentials, none, or a token: 401 with a challenge at every path."""
    response = guarded.http.get(f"/v2/{path}", headers=headers)
    assert (response.status_code, code_of(response)) == (401, "UNAUTHORIZED")
    assert response.headers["WWW-Authenticate"] == 'Basic realm="pyoci"'


def test_with_a_password_the_registry_answers(guarded: Wire) -> None:
    """Right credentials give access to read and write."""
    headers = basic("anna", ANNA)
    document = {"data": make_image_index(), "headers": headers}
    assert guarded.http.put("/v2/acme/hello/manifests/1.0", **document).status_code == 201
    assert guarded.http.get("/v2/acme/hello/tags/list", headers=headers).status_code == 200


def local_request(**overrides: str | None) -> dict[str, str]:
    """The environ of a request from this machine; None leaves a variable out."""
    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
    } | overrides
    return {name: value for name, value in environ.items() if value is not None}


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({}, id="plain"),
        pytest.param({"REMOTE_ADDR": "::1", "HTTP_HOST": "[::1]:8080"}, id="IPv6"),
        pytest.param({"REMOTE_ADDR": "::ffff:127.0.0.1"}, id="IPv4-mapped peer"),
        pytest.param({"REMOTE_ADDR": "127.3.2.1"}, id="all of 127/8"),
        pytest.param({"HTTP_HOST": "localhost"}, id="localhost without port"),
        pytest.param({"HTTP_HOST": "LOCALHOST:8080"}, id="capitals"),
        pytest.param({"HTTP_HOST": "[::ffff:127.0.0.1]"}, id="IPv4-mapped Host"),
        pytest.param({"HTTP_ORIGIN": "http://127.0.0.1:8080"}, id="own origin"),
        pytest.param({"HTTP_SEC_FETCH_SITE": "none"}, id="typed into a browser"),
        pytest.param({"HTTP_SEC_FETCH_SITE": "same-origin"}, id="own page"),
    ],
)
def test_a_program_on_this_machine_has_access(overrides: dict[str, str]) -> None:
    """A loopback peer with a loopback Host needs no password."""
    assert refusal_for_remote_peer(local_request(**overrides)) is None


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({"REMOTE_ADDR": "192.168.1.2"}, id="the network"),
        pytest.param({"REMOTE_ADDR": "::ffff:192.168.1.2"}, id="the network, mapped"),
        pytest.param({"REMOTE_ADDR": ""}, id="a Unix socket"),
        pytest.param({"REMOTE_ADDR": None}, id="no peer"),
        pytest.param({"HTTP_HOST": None}, id="no Host"),
        pytest.param({"HTTP_HOST": "pyoci.example.org"}, id="a name"),
        pytest.param({"HTTP_HOST": "attacker.example:8080"}, id="DNS rebinding"),
        pytest.param({"HTTP_HOST": "localhost.example.org"}, id="a name that starts well"),
        pytest.param({"HTTP_HOST": "localhost@example.org"}, id="user info"),
        pytest.param({"HTTP_HOST": "localhost:8080:8080"}, id="two ports"),
        pytest.param({"HTTP_HOST": "0.0.0.0:8080"}, id="every address"),
        pytest.param({"HTTP_HOST": "[::2]"}, id="another IPv6"),
        pytest.param({"HTTP_HOST": "[127.0.0.1"}, id="a bracket"),
        pytest.param({"HTTP_FORWARDED": "for=1.2.3.4"}, id="Forwarded"),
        pytest.param({"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, id="X-Forwarded-For"),
        pytest.param({"HTTP_X_FORWARDED_PROTO": "https"}, id="X-Forwarded-Proto"),
        pytest.param({"HTTP_X_FORWARDED_ANYTHING": ""}, id="X-Forwarded-Anything"),
        pytest.param({"HTTP_VIA": "1.1 proxy"}, id="Via"),
        pytest.param({"HTTP_X_REAL_IP": "1.2.3.4"}, id="X-Real-IP"),
        pytest.param({"SERVER_PROTOCOL": "HTTP/1.0"}, id="nginx without headers"),
        pytest.param({"HTTP_ORIGIN": "https://example.org"}, id="a page elsewhere"),
        pytest.param({"HTTP_ORIGIN": "http://127.0.0.1:3000"}, id="a page on another port"),
        pytest.param({"HTTP_ORIGIN": "null"}, id="a sandboxed page"),
        pytest.param({"HTTP_SEC_FETCH_SITE": "cross-site"}, id="cross-site"),
        pytest.param({"HTTP_SEC_FETCH_SITE": "same-site"}, id="same-site"),
    ],
)
def test_other_requests_are_refused(overrides: dict[str, str]) -> None:
    """Requests from the network, a proxy or a web page are refused. The message names the setting."""
    reason = refusal_for_remote_peer(local_request(**overrides))
    assert reason is not None
    assert "PYOCI_EMBEDDED_HTPASSWD" in reason


@pytest.fixture
def registries(directory: Path, accounts: Accounts) -> dict[str, Wire]:
    """The registry in a public application, with and without passwords; and inside a checked one."""
    found = {}
    for name, htpasswd, local_only in (
        ("open", None, True),
        ("guarded", accounts.read(), True),
        ("inside", None, False),
    ):
        app = Flask(name)
        app.register_blueprint(create_blueprint(directory, htpasswd=htpasswd, local_only=local_only))
        found[name] = Wire(app.test_client())
    return found


@pytest.mark.parametrize(
    ("which", "address", "headers", "status"),
    [
        ("open", "127.0.0.1", {}, 200),
        ("open", "10.0.0.1", {}, 403),
        ("open", "127.0.0.1", {"X-Forwarded-For": "10.0.0.1"}, 403),
        ("guarded", "10.0.0.1", {}, 401),
        ("guarded", "127.0.0.1", {}, 401),
        ("guarded", "10.0.0.1", basic("anna", ANNA), 200),
        ("inside", "10.0.0.1", {}, 200),
    ],
)
def test_access_over_http(
    registries: dict[str, Wire], which: str, address: str, headers: dict[str, str], status: int
) -> None:
    """The registry requires a password, or a local program; inside a checked application neither."""
    response = registries[which].http.get(
        "/v2/_catalog", headers=headers, environ_overrides={"REMOTE_ADDR": address}
    )
    assert response.status_code == status
    if status == 403:
        assert code_of(response) == "DENIED"
        assert "PYOCI_EMBEDDED_HTPASSWD" in response.text
