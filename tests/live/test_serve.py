"""`pyoci serve`, which `make serve` starts: the printed commands work when pasted."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.servers import Port, Server, Servers, start_serve


@pytest.fixture(scope="module")
def serve(servers: Servers, ports: Callable[[str], Port]) -> Server:
    """PyOCI as a developer starts it."""
    return start_serve(servers, "serve", ports("serve"))


def _arguments(server: Server, command: str, **given: object) -> list[str]:
    """The arguments in the printed line of `command`; `given` replaces its placeholders."""
    [line] = [line for line in server.log.read_text().splitlines() if f"  {command} " in line]
    words = shlex.split(line.partition(f"  {command} ")[2])
    return [str(given.get(word.partition("/")[0], word)) for word in words]


def test_the_limit_is_printed(serve: Server) -> None:
    """With its setting."""
    assert "Largest upload  50 MB, unless PYOCI_MAX_BODY sets another" in serve.log.read_text()


def test_above_a_clone(servers: Servers, ports: Callable[[str], Port], tmp_path: Path) -> None:
    """A folder named `pyoci` in the current directory doesn't hide the package from gunicorn."""
    (tmp_path / "pyoci").mkdir()
    server = start_serve(servers, "above-a-clone", ports("above-a-clone"), tmp_path)
    assert (tmp_path / "pyoci-data").is_dir()
    server.end()
    server.wait()


@pytest.mark.live("pip", "uv", "twine")
def test_printed_lines(clients: Clients, serve: Server, tmp_path: Path) -> None:
    """The printed commands of twine, uv and pip work with a file and a name filled in."""
    wheel, greeting = packages.wheel(tmp_path), packages.wheel(tmp_path, "Acme.Greeting")
    with_pip, with_uv = clients.new_environment("with-pip"), clients.new_environment("with-uv")

    clients.run("twine", "upload", *_arguments(serve, "twine upload", dist=wheel))
    clients.run("uv", "publish", *_arguments(serve, "uv publish", dist=greeting))
    pip, uv = (_arguments(serve, f"{each} install", PACKAGE="hello-world") for each in ("pip", "uv pip"))
    clients.run("pip", "--python", with_pip, "install", *pip, "acme-greeting")
    clients.run("uv", "pip", "install", "--python", with_uv, *uv, "acme-greeting")

    for python in (with_pip, with_uv):
        assert clients.installed(python) == ["Acme.Greeting==1.0", "hello-world==1.0"]
