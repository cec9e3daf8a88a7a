"""A request leaves no reference cycles: until the collector runs, they would keep its buffers and frames."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask.testing import FlaskClient

from tests.builders import make_wheel

FILENAME, CONTENT = make_wheel()
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
BASIC = {"Authorization": "Basic bWU6c2VjcmV0"}


@contextmanager
def collecting() -> Iterator[list[str]]:
    """The objects of PyOCI's frames that the block leaves to the collector."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        codes = (left.f_code for left in gc.garbage if type(left).__name__ == "frame")
        found += [
            f"{code.co_filename}: {code.co_qualname}" for code in codes if "/pyoci/" in code.co_filename
        ]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def upload(client: FlaskClient, content: bytes = CONTENT, cut: int = 0) -> int:
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    data = {**form, "content": (io.BytesIO(content), FILENAME)}
    if not cut:
        return client.post("/local/acme/", data=data).status_code
    # A client that leaves in the middle.
    whole = client.application.test_request_context("/local/acme/", method="POST", data=data).request
    body = whole.get_data()
    length = {"CONTENT_LENGTH": str(len(body))}
    return client.post(
        "/local/acme/", data=body[:-cut], content_type=whole.content_type, environ_overrides=length
    ).status_code


def test_the_collector_would_find_a_cycle() -> None:
    """This shows that the other tests can fail."""
    from pyoci.errors import InvalidRequest
    from pyoci.oci.references import Registry

    def leave_a_cycle() -> None:
        try:
            Registry.parse("ftp://x")
        except InvalidRequest as exc:
            kept = exc
            assert kept

    with collecting() as found:
        leave_a_cycle()
    assert found


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/local/acme/hello-world/", 200),
        (f"/local/acme/hello-world/{FILENAME}", 200),
        (f"/local/acme/hello-world/{FILENAME}.metadata", 200),
        ("/local/acme/nobody/", 404),
        ("/local/acme/hello-world/hello_world-9.0-py3-none-any.whl", 404),
        ("/local/acme/hello-world/9.0/json/", 404),
        ("/no$name/acme/hello-world/", 404),
    ],
)
def test_read(client: FlaskClient, path: str, status: int) -> None:
    assert upload(client) == 200
    client.get(path, headers=JSON)  # what is loaded and remembered at first
    with collecting() as found:
        assert client.get(path, headers={**JSON, **BASIC}).status_code == status
    assert found == []


@pytest.mark.parametrize(
    ("content", "cut", "status"),
    [
        (CONTENT, 0, 200),
        (make_wheel(requires=["other"])[1], 0, 409),
        (CONTENT, 200, 400),
        (make_wheel("other")[1], 0, 400),
    ],
    ids=["again", "other-content", "cut", "another-project"],
)
def test_upload(client: FlaskClient, content: bytes, cut: int, status: int) -> None:
    assert upload(client) == 200
    with collecting() as found:
        assert upload(client, content, cut) == status
    assert found == []


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_change(client: FlaskClient, method: str) -> None:
    """Of a file that isn't there."""
    assert upload(client) == 200
    path = "/local/acme/hello-world/hello_world-9.0-py3-none-any.whl"
    with collecting() as found:
        assert client.open(path, method=method, json={"yanked": "broken"}).status_code == 404
    assert found == []
