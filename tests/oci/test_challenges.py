"""WWW-Authenticate, in the form that each registry sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.oci.challenges import Challenge, Scope, choose, parse_challenges

R = "https://r.example/token"
PULL = "repository:acme/hello:pull"

# Header, and of the challenge that is answered: scheme, realm, service and scopes. None if there is none.
TABLE: dict[str, tuple[str | None, tuple[str, str, str | None, tuple[str, ...]] | None]] = {
    "ghcr.io": (
        f'Bearer realm="{R}",service="ghcr.io",scope="{PULL}"',
        ("bearer", R, "ghcr.io", (PULL,)),
    ),
    "Docker Hub, insufficient scope": (
        f'Bearer realm="{R}",service="registry.docker.io",scope="{PULL}",error="insufficient_scope"',
        ("bearer", R, "registry.docker.io", (PULL,)),
    ),
    "Azure ACR": (
        f'Bearer realm="{R}",service="acme.azurecr.io",scope="{PULL},push"',
        ("bearer", R, "acme.azurecr.io", (f"{PULL},push",)),
    ),
    "AWS ECR: Basic": (
        'Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"',
        ("basic", "https://1.dkr.ecr.eu-west-1.amazonaws.com/", "ecr.amazonaws.com", ()),
    ),
    "Google AR: spaces": (
        f'Bearer realm="{R}", service="europe-docker.pkg.dev" , scope="{PULL}"',
        ("bearer", R, "europe-docker.pkg.dev", (PULL,)),
    ),
    "GitLab: no scope": (
        f'Bearer realm="{R}",service="container_registry"',
        ("bearer", R, "container_registry", ()),
    ),
    "Quay": (f'Bearer realm="{R}",service="quay.io",scope="{PULL}"', ("bearer", R, "quay.io", (PULL,))),
    "Harbor: Bearer, then Basic in one header": (
        f'Bearer realm="{R}",service="harbor-registry",scope="{PULL}", Basic realm="harbor"',
        ("bearer", R, "harbor-registry", (PULL,)),
    ),
    "Harbor: Basic after a bad Bearer": ('Basic realm="harbor"', ("basic", "harbor", None, ())),
    "Harbor: missing project, empty": ("", None),
    "zot: unquoted, lower case": (
        f"bearer realm={R},service=zot,scope={PULL}",
        ("bearer", R, "zot", (PULL,)),
    ),
    "zot: unquoted scope with two actions": (
        f"bearer realm={R},scope={PULL},push,service=zot",
        ("bearer", R, "zot", (f"{PULL},push",)),
    ),
    "zot: Basic": ("Basic realm=zot", ("basic", "zot", None, ())),
    "docker-registry 2.8.2 with htpasswd": ('Basic realm="lab"', ("basic", "lab", None, ())),
    "docker-registry 2.8.2: actions in any order": (
        f'Bearer realm="{R}",service="lab",scope="repository:acme/hello:push,pull"',
        ("bearer", R, "lab", ("repository:acme/hello:push,pull",)),
    ),
    "distribution 3.1: error with a description": (
        f'Bearer realm="{R}",service="lab",scope="{PULL}",error_description="a, \\"b\\""',
        ("bearer", R, "lab", (PULL,)),
    ),
    "Gitea: no service": (f'Bearer realm="{R}",scope="*"', ("bearer", R, None, ("*",))),
    "Forgejo": (
        f'Bearer realm="{R}",service="container_registry",scope="*"',
        ("bearer", R, "container_registry", ("*",)),
    ),
    "Gitea: Bearer and Basic as two headers, joined": (
        f'Bearer realm="{R}", Basic realm="Gitea"',
        ("bearer", R, None, ()),
    ),
    "Basic before Bearer": (f'Basic realm="a",Bearer realm="{R}"', ("bearer", R, None, ())),
    "Pulp: repeated scope": (
        f'Bearer realm="{R}",service="pulp",scope="{PULL}",scope="repository:acme/hello:push"',
        ("bearer", R, "pulp", (PULL, "repository:acme/hello:push")),
    ),
    "several scopes in one": (
        f'Bearer realm="{R}",scope="{PULL} registry:catalog:*"',
        ("bearer", R, None, (PULL, "registry:catalog:*")),
    ),
    "the same scope twice": (f'Bearer realm="{R}",scope="{PULL} {PULL}"', ("bearer", R, None, (PULL,))),
    "parameters in upper case": (
        f'BEARER REALM="{R}",Service="x",SCOPE="{PULL}"',
        ("bearer", R, "x", (PULL,)),
    ),
    "spaces around =": (f'Bearer realm = "{R}"', ("bearer", R, None, ())),
    "realm with a query": (f'Bearer realm="{R}?a=b,c"', ("bearer", f"{R}?a=b,c", None, ())),
    "unquoted realm with a query": (f"Bearer realm={R}?a=b,service=x", ("bearer", f"{R}?a=b", "x", ())),
    "first of a repeated realm": (f'Bearer realm="{R}",realm="other"', ("bearer", R, None, ())),
    "quote left open": (f'Bearer realm="{R}', ("bearer", R, None, ())),
    "empty service": (f'Bearer realm="{R}",service=""', ("bearer", R, None, ())),
    "Bearer without realm": ('Bearer service="x"', None),
    "Bearer without realm, and Basic": ('Bearer service="x", Basic realm="y"', ("basic", "y", None, ())),
    "Basic alone": ("Basic", ("basic", "", None, ())),
    "unknown schemes": ("Negotiate abcd==, NTLM", None),
    "unknown scheme and Basic": ('Negotiate abcd==, Basic realm="x"', ("basic", "x", None, ())),
    "parameters without a scheme": ('realm="x",service="y"', None),
    "commas alone": (" , ,, ", None),
    "no header": (None, None),
}


@pytest.mark.parametrize(("header", "expected"), TABLE.values(), ids=TABLE)
def test_every_registrys_challenge_is_read(
    header: str | None, expected: tuple[str, str, str | None, tuple[str, ...]] | None
) -> None:
    """Without service or scope, repeated, unquoted, in lower case, empty, joined, in any order."""
    found = choose(parse_challenges(header))
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.scheme, found.realm, found.service, found.scopes) == expected


@given(st.text() | st.text(alphabet='Bearer basic="\\, realm.scope:pull,push*', max_size=200))
def test_no_header_raises(header: str) -> None:
    """A registry may send anything there."""
    for challenge in parse_challenges(header):
        assert isinstance(challenge, Challenge)
        assert challenge.scheme


@pytest.mark.timeout(60)  # milliseconds are enough; a pattern that backtracks takes many minutes
@pytest.mark.parametrize("junk", ['a="', "Bearer ", 'scope="x",', "pull,", "\\" * 2, " ,", '"', "=" * 3])
def test_a_long_header_costs_little(junk: str) -> None:
    """Only its beginning is parsed, and no pattern backtracks without limit."""
    parse_challenges(f'Bearer realm="{R}",{junk * 500_000}')
    parse_challenges(junk * 500_000)


def test_source_of_a_mount_is_in_the_scopes() -> None:
    """A token for mounting a blob also needs pull from the other repository."""
    scope = Scope("acme/copy", ("pull", "push"), "acme/hello")
    (challenge,) = parse_challenges('Bearer realm="https://a",scope="repository:acme/copy:pull,push"')
    assert scope.token_scopes(challenge) == ("repository:acme/copy:pull,push", "repository:acme/hello:pull")
    assert scope.token_scopes(Challenge("bearer")) == scope.token_scopes(challenge)
