"""A real zot that lets anonymous callers read a part of its content."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import JSON_PAGE, PackageIndex
from tests.live.programs import find
from tests.live.publishing import published, twine
from tests.live.servers import Port, Server, Servers, htpasswd, start_pyoci
from tests.upstreams import package_index

pytestmark = pytest.mark.live("zot", "twine")

OWNER, READER, STRANGER = ("owner", "owner's"), ("reader", "reader's"), None
READABLE = {STRANGER: {"open"}, READER: {"open", "team"}, OWNER: {"open", "team", "secret"}}
_WRITE = {"users": [OWNER[0]], "actions": ["read", "create", "update", "delete"]}
_READ = {"users": [READER[0]], "actions": ["read"]}


def start_zot(servers: Servers, port: Port) -> Server:
    """zot in which anonymous callers may read `open`, READER also `team`, and OWNER everything."""
    program = find("zot")
    assert program is not None, "zot is not installed"
    accounts = htpasswd(servers.folder / "zot.htpasswd", **dict([OWNER, READER]))
    repositories = {
        "open/**": {"anonymousPolicy": ["read"], "policies": [_WRITE, _READ]},
        "team/**": {"policies": [_WRITE, _READ]},
        "secret/**": {"policies": [_WRITE]},
    }
    configuration = {
        "storage": {"rootDirectory": str(servers.folder / "zot")},
        "http": {
            "address": "127.0.0.1",
            "port": str(port.number),
            "auth": {"htpasswd": {"path": str(accounts)}},
            "accessControl": {"repositories": repositories},
        },
        "log": {"level": "error"},
    }
    path = servers.folder / "zot.json"
    path.write_text(json.dumps(configuration))
    return servers.start("zot", [program, "serve", str(path)], port.url, ready="/v2/", env={})


@pytest.fixture
def upstream_names() -> Iterator[tuple[str, list[str]]]:
    """The URL of an empty package index, and the names that it was asked for."""
    with package_index() as elsewhere:
        yield elsewhere.simple, elsewhere.calls


@pytest.fixture
def pyoci(
    servers: Servers, ports: Callable[[str], Port], upstream_names: tuple[str, list[str]]
) -> Iterator[Server]:
    zot = start_zot(servers, ports("zot"))
    settings = {"PYOCI_REGISTRIES": f"zot={zot.url}", "PYOCI_UPSTREAM_INDEX": upstream_names[0]}
    server = start_pyoci(servers, "zot-pyoci", ports("zot-pyoci"), WEB_CONCURRENCY="1", **settings)
    yield server
    for each in (server, zot):
        each.end()
        each.wait()


def listed(server: Server, namespace: str, caller: tuple[str, str] | None) -> list[str] | int:
    """The projects of a namespace below `namespace`, or the status of a refusal."""
    with requests.Session() as session:
        session.trust_env = False
        url = f"{server.url}/zot/{namespace}/inner/"
        answer = session.get(url, auth=caller, headers={"Accept": JSON_PAGE}, timeout=60)
    if answer.status_code != 200:
        return answer.status_code
    return [project["name"] for project in answer.json()["projects"]]


def test_each_caller_sees_their_projects(
    clients: Clients, pyoci: Server, upstream_names: tuple[str, list[str]], tmp_path: Path
) -> None:
    """In the lists of projects, whoever came before. Names of namespaces aren't sent to upstream, and wrong
    passwords are refused.
    """
    for namespace in READABLE[OWNER]:
        index = PackageIndex(url=f"{pyoci.url}/zot/{namespace}/inner/", registry="").signed_in(*OWNER)
        wheel = packages.wheel(tmp_path, f"{namespace}-project")
        published(twine(clients, index, [wheel]))
        assert index.filenames(f"{namespace}-project") == [wheel.name]
    for caller in (STRANGER, READER, OWNER, READER, STRANGER):
        readable = READABLE[caller]
        for namespace in READABLE[OWNER]:
            refusal = 401 if caller is None else 403
            expected = [f"{namespace}-project"] if namespace in readable else refusal
            assert listed(pyoci, namespace, caller) == expected, (namespace, caller)
    assert listed(pyoci, "open", (OWNER[0], "wrong")) == 401
    assert upstream_names[1] == []
