"""The number of requests to a token server: tokens are used for a short time, so that revoked access ends."""

from __future__ import annotations

import base64
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from benchmarks.publishing import publish_all
from benchmarks.relay import Relay, relay_to
from benchmarks.results import Row, at_most
from benchmarks.servers import WORKERS, Site, Stage
from benchmarks.wheels import wheel_of
from tests.live.clients import Clients
from tests.live.environments import Environments
from tests.live.pyprojects import pyproject

_PACKAGES = 40
_TTL = 20  # seconds; longer than two synchronisations take, and shorter than a minute for the sake of time
_USER, _PASSWORD = "somebody", "one password for all"
_TOKEN_SECONDS = 3600  # that the tokens would live


def token_rows(stage: Stage, _rounds: int) -> list[Row]:
    """One round: the counts have a limit, and below it they depend on which worker gets a request."""
    environments = Environments()
    clients = Clients(environments, stage.new_folder("home"))
    tokens = stage.token_server(environments, _TOKEN_SECONDS, **{_USER: _PASSWORD})
    with relay_to(tokens.url) as relay:
        site = stage.pyoci(stage.docker_registry(tokens.auth(relay.url)), PYOCI_CACHE_TTL=str(_TTL))
        _publish(stage, site)
        published = _asked(relay)
        relay.reset()
        _sync(stage, site, clients)
        first = _asked(relay)
        _sync(stage, site, clients)
        both = _asked(relay)
        time.sleep(_TTL)  # every token is too old by then
        relay.reset()
        _sync(stage, site, clients)
        later = _asked(relay)
    each = _PACKAGES * WORKERS
    return [
        _row(f"publish of {_PACKAGES} wheels: token requests", published, _PACKAGES),
        _row(f"uv sync of {_PACKAGES} packages, {WORKERS} workers: token requests", first, each),
        _row("the same twice, within PYOCI_CACHE_TTL: token requests of both", both, each),
        _row("the same again, after PYOCI_CACHE_TTL: token requests", later, each),
    ]


def _publish(stage: Stage, site: Site) -> None:
    """One wheel of each project; the first needs all the others."""
    login = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
    folder = stage.new_folder("wheels")
    requires = [f"{_name(number)}>=1.0" for number in range(1, _PACKAGES)]
    publish_all(
        replace(site, headers={"Authorization": f"Basic {login}"}),
        (wheel_of(folder, _name(n), "1.0", requires=() if n else requires) for n in range(_PACKAGES)),
    )


def _sync(stage: Stage, site: Site, clients: Clients) -> None:
    """`uv sync` of a project that needs them all, with an empty cache of uv."""
    project = stage.new_folder(stage.name("project"))
    account = f"{_USER}:{quote(_PASSWORD)}@"
    url = f"{site.server.url}{site.upload}".replace("://", f"://{account}")
    python = f">=3.{sys.version_info[1]}"
    (project / "pyproject.toml").write_text(pyproject("uv", url, _name(0), python))
    options = ("--quiet", "--cache-dir", project / "cache", "--python", sys.executable)
    clients.run("uv", "sync", *options, cwd=project)
    installed = list(Path(project).glob(".venv/lib/*/site-packages/*.dist-info"))
    assert len(installed) == _PACKAGES, f"uv installed {len(installed)} packages; expected {_PACKAGES}"


def _asked(relay: Relay) -> int:
    return relay.counts().get("GET /token", 0)


def _row(name: str, found: int, limit: int) -> Row:
    return Row(name=name, runs=(found,), bar=at_most(limit))


def _name(number: int) -> str:
    return f"token-{number}"
