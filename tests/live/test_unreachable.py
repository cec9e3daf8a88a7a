"""Registries that are none: each gets one sentence in time, and holds up nobody else."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest
import requests

from tests.builders import make_wheel
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.serving import served

Behaviour = Callable[[socket.socket], None]
PATIENCE = 60  # seconds for an answer: ten that PyOCI gives a registry, and what a busy machine adds


def hang(connection: socket.socket) -> None:
    """Takes the request and says nothing."""
    with suppress(OSError):
        while connection.recv(65536):
            pass


def drip(connection: socket.socket) -> None:
    """An answer of one byte a second, for ever."""
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            connection.sendall(b"x")
            time.sleep(1)


def drip_body(connection: socket.socket) -> None:
    """The head at once, and then one byte a second."""
    with suppress(OSError):
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{"
        )
        while True:
            connection.sendall(b" ")
            time.sleep(1)


def babble(connection: socket.socket) -> None:
    """Something that is not HTTP, and not TLS either."""
    with suppress(OSError):
        connection.recv(65536)
        connection.sendall(b"\x00\xff SSH-2.0-not-a-registry\r\n\r\n" * 10)


def cut(connection: socket.socket) -> None:
    """Ends the connection in the middle of the answer."""
    with suppress(OSError):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


@contextmanager
def behaving(behaviour: Behaviour) -> Iterator[str]:
    """A server of a kind; gives its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=behave, args=(connection,), daemon=True).start()

        def behave(connection: socket.socket) -> None:
            with connection:
                behaviour(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def website(environ: object, start_response: Callable[..., object]) -> list[bytes]:
    """Answers everything with a page for people."""
    body = b"<!DOCTYPE html><title>It works!</title>"
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(body)))])
    return [body]


EXPECTED = {
    "unknown": (503, "could not be reached"),
    "refusing": (503, "could not be reached"),
    "hanging": (504, "did not answer in time"),
    "dripping": (504, "did not answer in time"),
    "dripping-body": (504, "did not answer in time"),
    "tls": (503, "TLS"),
    "hanging-tls": (504, "in time"),
    "babbling": (502, "can't be read"),
    "cutting": (503, "broke off"),
    "website": (502, "not JSON|text/html"),
}


@pytest.fixture(scope="module")
def pyoci(servers: Servers, ports: Callable[[str], Port]) -> Iterator[Server]:
    """PyOCI with one worker, before all of them."""
    with ExitStack() as stack:
        urls = {
            "unknown": "https://registry.invalid",
            "refusing": "http://127.0.0.1:9",
            "hanging": f"http://{stack.enter_context(behaving(hang))}",
            "dripping": f"http://{stack.enter_context(behaving(drip))}",
            "dripping-body": f"http://{stack.enter_context(behaving(drip_body))}",
            "tls": f"https://{stack.enter_context(behaving(babble))}",
            "hanging-tls": f"https://{stack.enter_context(behaving(hang))}",
            "babbling": f"http://{stack.enter_context(behaving(babble))}",
            "cutting": f"http://{stack.enter_context(behaving(cut))}",
            "website": stack.enter_context(served(website)),
        }
        registries = ", ".join(f"{name}={url}" for name, url in urls.items())
        server = start_pyoci(
            servers,
            "before-nothing",
            ports("before-nothing"),
            PYOCI_REGISTRIES=registries,
            WEB_CONCURRENCY="1",
        )
        yield server
        server.end()
        server.wait()


def ask(pyoci: Server, registry: str) -> requests.Response:
    """Read a page."""
    return requests.get(f"{pyoci.url}/{registry}/acme/hello-world/", timeout=PATIENCE)


def publish(pyoci: Server, registry: str) -> requests.Response:
    """Upload a wheel."""
    filename, content = make_wheel()
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    files = {"content": (filename, content)}
    return requests.post(f"{pyoci.url}/{registry}/acme/", data=form, files=files, timeout=PATIENCE)


def test_each_is_answered_for_while_others_are_served(pyoci: Server) -> None:
    """A page and an upload of each at once, in one worker, which has sixteen threads: 502 to 504 with one
    sentence, and /health answers all the while.
    """
    kinds = (ask, publish)
    with ThreadPoolExecutor(len(EXPECTED) * len(kinds)) as pool:
        asked = {(name, kind): pool.submit(kind, pyoci, name) for name in EXPECTED for kind in kinds}
        while not all(future.done() for future in asked.values()):
            assert requests.get(f"{pyoci.url}/health", timeout=PATIENCE).status_code == 200
            time.sleep(0.1)
    for (name, kind), future in asked.items():
        answer = future.result()
        status, words = EXPECTED[name]
        assert (name, kind, answer.status_code) == (name, kind, status)
        assert re.search(words, answer.text)
        assert len(answer.text.splitlines()) == 1
