"""Servers that aren't registries: each request gets one sentence within ten seconds, and delays no other."""

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
    """Read the request and send nothing."""
    with suppress(OSError):
        while connection.recv(65536):
            pass


def drip(connection: socket.socket) -> None:
    """Send one byte a second without end."""
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            connection.sendall(b"x")
            time.sleep(1)


def drip_body(connection: socket.socket) -> None:
    """Send the head at once, then one byte a second."""
    with suppress(OSError):
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{"
        )
        while True:
            connection.sendall(b" ")
            time.sleep(1)


def babble(connection: socket.socket) -> None:
    """Send something that is neither HTTP nor TLS."""
    with suppress(OSError):
        connection.recv(65536)
        connection.sendall(b"\x00\xff SSH-2.0-not-a-registry\r\n\r\n" * 10)


def cut(connection: socket.socket) -> None:
    """Close the connection in the middle of the answer."""
    with suppress(OSError):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


@contextmanager
def behaving(behaviour: Behaviour) -> Iterator[str]:
    """A server with this behaviour; yields its host and port."""
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
    """Answers everything with an HTML page."""
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
    """PyOCI with one worker for all of them."""
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
    """Read a page; returns the answer and its seconds."""
    return requests.get(f"{pyoci.url}/{registry}/acme/hello-world/", timeout=PATIENCE)


def publish(pyoci: Server, registry: str) -> requests.Response:
    """Upload a wheel; returns the answer and its seconds."""
    filename, content = make_wheel()
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    files = {"content": (filename, content)}
    return requests.post(f"{pyoci.url}/{registry}/acme/", data=form, files=files, timeout=PATIENCE)


def test_each_is_answered_for_while_others_are_served(pyoci: Server) -> None:
    """A page and an upload for each at once, in one worker with sixteen threads: 502 to 504 with one
    sentence, and /health answers meanwhile.
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
