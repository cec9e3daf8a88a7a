"""GitHub's list of an owner's packages, from a server on a socket that answers as GitHub's documents say."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from werkzeug.wrappers import Request, Response

from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound, ProtocolError, Unauthorized
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials, IdentityToken
from pyoci.oci.errors import RegistryDenied, RegistryError
from pyoci.oci.references import Registry
from pyoci.oci.session import Gateway
from pyoci.store.catalog_repository import CatalogName
from pyoci.store.models import ListSource, Namespace
from pyoci.store.service import PackageStore
from tests.serving import served
from tests.stores import make_store

TOKEN = "ghp_" + "a" * 36
ME = Basic("me", TOKEN)
# As GitHub answers other kinds of tokens, and wrong ones.
REFUSALS = {
    "ghp_wrong": (401, "Bad credentials"),
    "github_pat_fine": (403, "Resource not accessible by personal access token"),
    "ghs_job": (403, "Resource not accessible by integration"),
}


@dataclass
class FakeGitHub:
    """GitHub's API at /orgs/ and /users/, and ghcr.io's at /v2/. `packages` are names by owner."""

    packages: dict[str, list[str]] = field(default_factory=dict)
    users: frozenset[str] = frozenset()
    calls: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    answer: Response | None = None  # to every request for packages
    link: str = ""  # another Link than the right one

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        self.calls.append(f"{request.method} {request.full_path.rstrip('?')}")
        return self._answered(request)(environ, start_response)

    def _answered(self, request: Request) -> Response:
        if request.path.startswith("/v2/"):
            return _json({"errors": [{"code": "NAME_UNKNOWN", "message": "no such thing"}]}, 404)
        self.authorizations.add(request.headers.get("Authorization", ""))
        if self.answer is not None:
            return self.answer
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token != TOKEN:
            status, message = REFUSALS.get(token, (401, "Requires authentication"))
            return _json({"message": message, "documentation_url": "https://docs.example"}, status)
        _, kind, owner, _ = request.path.split("/")
        is_there = owner in self.packages and (owner in self.users) is (kind == "users")
        if not is_there or request.args.get("package_type") != "container":
            return _json({"message": "Not Found"}, 404)
        return self._page(request, owner)

    def _page(self, request: Request, owner: str) -> Response:
        size, number = int(request.args["per_page"]), int(request.args.get("page", "1"))
        names = self.packages[owner]
        shown = names[(number - 1) * size : number * size]
        answer = _json(
            [{"id": 1, "name": name, "package_type": "container", "visibility": "private"} for name in shown]
        )
        if number * size < len(names):
            query = f"package_type=container&per_page={size}&page={number + 1}"
            url = self.link or f"{request.host_url}{request.path[1:]}?{query}"
            answer.headers["Link"] = f'<{url}>; rel="next", <{url}>; rel="last"'
        return answer


def _json(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")


@pytest.fixture
def github() -> FakeGitHub:
    return FakeGitHub({"acme": [f"p{number:03}" for number in range(250)]})


@pytest.fixture
def url(github: FakeGitHub) -> Iterator[str]:
    with served(github) as url:
        yield url


@pytest.fixture
def registry(url: str) -> Registry:
    return Registry.parse(url, listed=True)


@pytest.fixture
def gateway(url: str) -> Iterator[Gateway]:
    transport = Transport(sleep=lambda _: None)
    yield Gateway(transport, ttl=60, companions={url: url})
    transport.close()


@pytest.fixture
def store(gateway: Gateway) -> PackageStore:
    return make_store(gateway)


def test_all_pages_are_read(github: FakeGitHub, gateway: Gateway, registry: Registry) -> None:
    """A hundred packages a request, with the caller's own token."""
    assert gateway.github.packages(registry, "acme", ME) == tuple(github.packages["acme"])
    query = "package_type=container&per_page=100"
    assert github.calls == [
        f"GET /orgs/acme/packages?{query}",
        f"GET /orgs/acme/packages?{query}&page=2",
        f"GET /orgs/acme/packages?{query}&page=3",
    ]
    assert github.authorizations == {f"Bearer {TOKEN}"}


def test_an_owner_may_be_a_user(github: FakeGitHub, gateway: Gateway, registry: Registry) -> None:
    github.users = frozenset({"acme"})
    assert len(gateway.github.packages(registry, "acme", Bearer(TOKEN))) == 250
    assert github.calls[:2] == [
        f"GET /{kind}/acme/packages?package_type=container&per_page=100" for kind in ("orgs", "users")
    ]


@pytest.mark.parametrize("token", REFUSALS)
def test_other_tokens_are_refused(
    github: FakeGitHub, gateway: Gateway, registry: Registry, token: str
) -> None:
    """The refusal has GitHub's words, and no token."""
    with pytest.raises(RegistryError) as caught:
        gateway.github.packages(registry, "acme", Basic("me", token))
    assert REFUSALS[token][1] in caught.value.message
    assert token not in caught.value.message
    assert len(github.calls) == 1


@pytest.mark.parametrize(
    "caller", [Anonymous(), IdentityToken("x"), Basic("me", ""), Basic("me", "a\nb")], ids=range(4)
)
def test_nobody_else_is_asked_for(
    github: FakeGitHub, gateway: Gateway, registry: Registry, caller: Credentials
) -> None:
    """GitHub lists packages for tokens alone."""
    with pytest.raises(Unauthorized):
        gateway.github.packages(registry, "acme", caller)
    assert github.calls == []


@pytest.mark.parametrize(
    "link", ["https://elsewhere.example/x", "ftp://x", "http://user:pw@127.0.0.1/", "//127.0.0.2/x"]
)
def test_a_link_leads_to_no_other_host(
    github: FakeGitHub, gateway: Gateway, registry: Registry, link: str
) -> None:
    github.link = link
    with pytest.raises(ProtocolError):
        gateway.github.packages(registry, "acme", ME)


@pytest.mark.parametrize(
    "answer",
    [
        Response("<html>", content_type="text/html"),
        _json({"message": "no list"}),
        Response("[" * 100_000, content_type="application/json"),
    ],
    ids=["HTML", "no list", "nested"],
)
def test_nonsense_is_an_error(
    github: FakeGitHub, gateway: Gateway, registry: Registry, answer: Response
) -> None:
    github.answer = answer
    with pytest.raises(ProtocolError):
        gateway.github.packages(registry, "acme", ME)


def test_what_is_no_package_is_passed_over(github: FakeGitHub, gateway: Gateway, registry: Registry) -> None:
    github.answer = _json([1, None, {}, {"name": 1}, {"name": "x" * 10_000}, {"name": "a"}])
    assert gateway.github.packages(registry, "acme", ME) == ("a",)


def test_another_registry_is_not_githubs(gateway: Gateway) -> None:
    assert not gateway.github.knows(Registry.parse("https://quay.io"))
    assert Gateway(gateway.transport, ttl=60).github.knows(Registry.parse("ghcr.io"))
    assert not Gateway(gateway.transport, ttl=60).github.knows(Registry.parse("http://ghcr.io"))


class TestRoot:
    def test_has_githubs_list(self, github: FakeGitHub, store: PackageStore, registry: Registry) -> None:
        """After _catalog; packages in a namespace below belong there."""
        github.packages["acme"] = ["hello_world", "python/deep_one", "not.a.project"]
        root = store.catalog.root(Namespace(registry, "acme"), ME)
        assert (root.projects, root.source) == ((ProjectName("hello-world"),), ListSource.GITHUB)
        assert not root.may_be_incomplete
        assert github.calls[0].startswith("GET /v2/_catalog")
        assert store.projects(Namespace(registry, "acme/python"), ME) == (ProjectName("deep-one"),)

    def test_is_remembered_for_its_caller(
        self, github: FakeGitHub, store: PackageStore, registry: Registry
    ) -> None:
        """GitHub limits the number of requests."""
        namespace = Namespace(registry, "acme")
        store.projects(namespace, ME)
        github.calls.clear()
        store.projects(namespace, ME)
        assert not [call for call in github.calls if "/packages" in call]
        with pytest.raises(NotFound):
            store.projects(namespace, Basic("me", "ghp_wrong"))
        assert [call for call in github.calls if "/packages" in call]

    @pytest.mark.parametrize("token", REFUSALS)
    def test_says_which_token_is_needed(self, store: PackageStore, registry: Registry, token: str) -> None:
        """Not as a 401: the client would ask for the password again and again."""
        with pytest.raises(NotFound, match="classic token") as caught:
            store.projects(Namespace(registry, "acme"), Basic("me", token))
        assert token not in caught.value.message

    def test_anonymous_callers_are_asked_for_a_token(
        self, github: FakeGitHub, store: PackageStore, registry: Registry
    ) -> None:
        with pytest.raises(Unauthorized, match="classic personal access token"):
            store.projects(Namespace(registry, "acme"), Anonymous())

    @pytest.mark.parametrize("status", [429, 403, 500, 502])
    def test_a_github_that_fails_is_followed_by_the_next_source(
        self, github: FakeGitHub, gateway: Gateway, registry: Registry, status: int
    ) -> None:
        github.answer = _json({"message": "API rate limit exceeded"}, status)
        store = make_store(gateway, catalog_name=CatalogName("pyoci.catalog"))
        with pytest.raises(NotFound):
            store.projects(Namespace(registry, "acme"), ME)
        assert any(call.startswith("GET /v2/acme/pyoci.catalog/tags/list") for call in github.calls)


def test_the_token_is_in_no_log(url: str, registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Nor in the repr of anything that is raised."""
    transport = Transport(sleep=lambda _: None)
    with caplog.at_level(logging.DEBUG), pytest.raises(RegistryDenied) as caught:
        Gateway(transport, ttl=60, companions={url: url}).github.packages(
            registry, "acme", Basic("me", "github_pat_fine")
        )
    transport.close()
    text = caplog.text + repr(caught.value) + repr(vars(caught.value))
    assert "github_pat_fine" not in text
    assert b64encode(b"me:github_pat_fine").decode() not in text
    assert urlsplit(url).port is not None
