"""Other package indexes, each started as its documentation says."""

from __future__ import annotations

import base64

import requests

from benchmarks.environments import program_of
from benchmarks.servers import WORKERS, Site, Stage

PYPISERVER = "pypiserver, gunicorn"
PYPISERVER_ALONE = "pypiserver"
DEVPI = "devpi-server"
PROXPI = "proxpi"
_PASSWORD = "benchmark"
_TIMEOUT = 60  # seconds
_THREADS = 16  # of each worker: more would only get into each other's way on a page


def pypiserver(stage: Stage, *, workers: int = WORKERS) -> Site:
    """pypiserver with its extra `cache`, under gunicorn with as many workers as PyOCI."""
    name, port = stage.name("pypiserver"), stage.port()
    options = (
        f"root={str(stage.new_folder(name))!r}, authenticate=[], password_file='.', disable_fallback=True"
    )
    command = [*_gunicorn("pypiserver", port.number, workers), f"pypiserver:app({options})"]
    return Site(
        label=PYPISERVER,
        server=stage.start(name, command, port.url, "/health"),
        port=port.number,
        upload="/",
        page="/simple/{project}/",
        file="/packages/{filename}",
    )


def pypiserver_alone(stage: Stage) -> Site:
    """pypiserver with its own server and without the extra `cache`, as in its README."""
    name, port = stage.name("pypiserver"), stage.port()
    command = [program_of("pypiserver", "pypi-server"), "run", "-i", "127.0.0.1", "-p", str(port.number)]
    command += ["-P", ".", "-a", ".", "--disable-fallback", "--backend", "simple-dir"]
    return Site(
        label=PYPISERVER_ALONE,
        server=stage.start(name, [*command, str(stage.new_folder(name))], port.url, "/health"),
        port=port.number,
        upload="/",
        page="/simple/{project}/",
        file="/packages/{filename}",
    )


def devpi_server(stage: Stage) -> Site:
    """devpi-server with one stage without bases, with its own server and 50 threads,
    which are its defaults.
    """
    name, port = stage.name("devpi-server"), stage.port()
    folder = str(stage.new_folder(name))
    init = [program_of("devpi-server", "devpi-init"), "--serverdir", folder, "--no-root-pypi"]
    stage.run([*init, "--root-passwd", _PASSWORD])
    command = [program_of("devpi-server", "devpi-server"), "--serverdir", folder]
    command += ["--host", "127.0.0.1", "--port", str(port.number)]
    # Only passwords are hashed with these: its own values take a quarter of a minute at the start.
    command += ["--argon2-memory", "8192", "--argon2-parallelism", "1", "--argon2-time-cost", "1"]
    port.close()  # its server takes no port that somebody else has bound
    server = stage.start(name, command, port.url, "/+api")
    return Site(
        label=DEVPI,
        server=server,
        port=port.number,
        upload="/root/bench/",
        page="/root/bench/+simple/{project}/",
        file="/root/bench/+f/{project}/{filename}",
        headers={"X-Devpi-Auth": _devpi_login(port.url)},
    )


def _devpi_login(url: str) -> str:
    """Create the stage and log in: otherwise the password would be hashed for every upload."""
    with requests.Session() as session:
        session.trust_env = False
        who = {"user": "root", "password": _PASSWORD}
        answer = session.post(f"{url}/+login", json=who, timeout=_TIMEOUT)
        answer.raise_for_status()
        login = base64.b64encode(f"root:{answer.json()['result']['password']}".encode()).decode()
        stage = {"type": "stage", "bases": []}
        made = session.put(f"{url}/root/bench", json=stage, headers={"X-Devpi-Auth": login}, timeout=_TIMEOUT)
        made.raise_for_status()
    return login


def proxpi(stage: Stage, upstream: Site) -> Site:
    """proxpi in front of another package index: it stores no packages. Its cache is that of one process."""
    name, port = stage.name("proxpi"), stage.port()
    command = [*_gunicorn("proxpi", port.number, 1), "proxpi.server:app"]
    environ = {"PROXPI_INDEX_URL": f"{upstream.server.url}{upstream.page.partition('{')[0]}"}
    return Site(
        label=PROXPI,
        server=stage.start(name, command, port.url, "/", environ),
        port=port.number,
        upload="",
        page="/index/{project}/",
        file="/index/{project}/{filename}",
    )


def _gunicorn(peer: str, port: int, workers: int) -> list[str]:
    """gunicorn with PyOCI's configuration, from the environment of the peer."""
    command = [program_of(peer, "gunicorn"), "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"]
    command += ["--workers", str(workers), "--threads", str(_THREADS), "--keep-alive", "75"]
    return [*command, "--worker-tmp-dir", "/dev/shm", "--no-control-socket"]
