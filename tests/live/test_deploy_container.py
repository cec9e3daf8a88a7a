"""The container, as far as it can be tested without a Docker engine: see tests/live/container.py."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.dockerfile import read_dockerfile
from tests.live.container import Image, build, is_possible
from tests.live.environments import CHECKOUT
from tests.live.servers import Port, Server, Servers

STAGE = read_dockerfile(CHECKOUT / "Dockerfile")[-1]

pytestmark = [
    pytest.mark.skipif(not is_possible(), reason="mounting takes root, and unshare(1)"),
    pytest.mark.live("pip"),  # its steps install from PyPI
    pytest.mark.timeout(900),  # which may take a while
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image that the Dockerfile's steps make."""
    return build(CHECKOUT, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def start(image: Image, servers: Servers, ports: Callable[[str], Port]) -> Callable[..., Server]:
    """Runs a container: as its user, on a read-only root with a tmpfs on /tmp; `volume` becomes /data."""

    def start(name: str, volume: Path, **settings: str) -> Server:
        port = ports(name)
        volume.chmod(0o777)
        environ = {"PORT": str(port.number), **settings}
        command = image.command(STAGE.last("CMD").command, environ, read_only=True, volumes={volume: "/data"})
        return servers.start(
            name, command, port.url, ready="/ready", env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        )

    return start


@pytest.fixture(scope="module")
def container(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    return start("container", tmp_path_factory.mktemp("data"), PYOCI_EMBEDDED="/data")


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_upload_and_page(container: Server, session: requests.Session) -> None:
    """A package is uploaded, listed and downloaded."""
    name, content = make_wheel()
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    index = f"{container.url}/local/acme/"
    answer = session.post(
        index, data=form, files={"content": (name, content)}, auth=("me", "open"), timeout=60
    )
    assert answer.status_code == 200, answer.text
    assert name in session.get(f"{index}hello-world/", timeout=60).text
    assert session.get(f"{index}hello-world/{name}", timeout=60).content == content


def test_runs_as_an_unprivileged_user(container: Server) -> None:
    """The Dockerfile's user, without capabilities, in all processes."""
    found = _processes(container)
    assert len(found) > 1
    for pid in found:
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert status["Uid"].split() == ["10001"] * 4
        assert int(status["CapEff"], 16) == 0


def test_can_write_only_to_tmp(image: Image) -> None:
    """Not to its own code."""
    script = (
        "for place in / /opt/pyoci /usr/local /data /etc /tmp; do test -w $place && echo $place; done; true"
    )
    assert image.run(["sh", "-c", script], read_only=True).split() == ["/tmp"]


@pytest.mark.parametrize("module", ["pip", "setuptools", "wheel"])
def test_has_no_build_tools(image: Image, module: str) -> None:
    """Neither beside PyOCI nor in the image's Python."""
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is not None)"
    for python in ("/opt/pyoci/bin/python", "/usr/local/bin/python"):
        image.run([python, "-c", look], read_only=True)


def test_compiled(image: Image) -> None:
    """The bytecode can't be written later, so each start would compile everything again."""
    package = next(image.path("/opt/pyoci/lib").glob("python3*/site-packages/pyoci"))
    assert {path.stem for path in package.glob("*.py")} == {
        path.name.split(".")[0] for path in package.glob("__pycache__/*.pyc")
    }


def test_health_check(image: Image, container: Server) -> None:
    """The Dockerfile's own: it succeeds, and fails if nothing listens."""
    check = STAGE.last("HEALTHCHECK").command
    port = container.url.rpartition(":")[2]
    image.run(check, {"PORT": port}, read_only=True)
    with pytest.raises(AssertionError, match="ConnectionRefused"):
        image.run(check, {"PORT": "1"}, read_only=True)


def test_stops_on_the_image_signal(start: Callable[..., Server], tmp_path: Path) -> None:
    """With exit status 0."""
    server = start("container-that-stops", tmp_path)
    server.process.send_signal(signal.Signals[STAGE.last("STOPSIGNAL").text])
    assert server.process.wait(60) == 0


def test_says_what_is_wrong(image: Image) -> None:
    """A wrong setting ends it with a sentence."""
    command = image.command(STAGE.last("CMD").command, {"PORT": "http"}, read_only=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "PORT: 'http' is not valid; expected a whole number" in done.stderr
    assert "Traceback" not in done.stderr


def _processes(server: Server) -> list[int]:
    pid = server.process.pid  # unshare and chroot became what they were to start
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
