"""What waits for a thread, and who is next."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pyoci.worker.threads import SECONDS, Queues
from tests.worker.doubles import Clock


@dataclass(eq=False)
class Connection:
    """Stands for its socket, too."""

    name: str
    line: str = "GET /lab/acme/hello/ HTTP/1.1"

    def __post_init__(self) -> None:
        self.gathered = bytearray(f"{self.line}\r\nHost: x\r\n\r\n".encode())

    @property
    def sock(self) -> Connection:
        return self


def names(queues: Queues) -> list[str]:
    found = []
    while queues:
        found.append(queues.pop()[0].name)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "GET /lab/acme/hello/hello-1.0-py3-none-any.whl HTTP/1.1",
        "GET /lab/acme/hello/hello-1.0.tar.gz HTTP/1.1",
        "GET /v2/acme/hello/blobs/sha256:0 HTTP/1.1",
        "POST /lab/acme/ HTTP/1.1",
    ],
)
def test_a_page_waits_for_few_transfers(line: str) -> None:
    """However many are in front of it."""
    queues = Queues()
    for number in range(100):
        queues.add_request(Connection(f"transfer {number}", line))
    queues.add_request(Connection("page"))
    assert names(queues).index("page") <= 2


def test_metadata_is_no_transfer() -> None:
    """It is as small as a page."""
    queues = Queues()
    queues.add_request(Connection("page"))
    queues.add_request(
        Connection("metadata", "GET /lab/acme/hello/hello-1.0-py3-none-any.whl.metadata HTTP/1.1")
    )
    queues.add_request(Connection("file", "GET /lab/acme/hello/hello-1.0-py3-none-any.whl HTTP/1.1"))
    assert names(queues) == ["page", "file", "metadata"]


def test_a_newcomer_waits_for_few_of_a_crowd() -> None:
    """And the crowd is served in turns with newcomers."""
    queues = Queues()
    for number in range(100):
        queues.add_request(Connection(str(number)))
    queues.add_request(Connection("newcomer"))
    found = names(queues)
    assert found.index("newcomer") <= 2
    assert found.index("0") <= 2
    assert len(found) == 101


def test_answers_come_in_their_turn() -> None:
    """Among requests, and never late."""
    clock = Clock()
    queues = Queues(clock)
    queues.add_answer(Connection("answer"))
    queues.add_request(Connection("page"))
    clock.now += SECONDS
    assert [conn.name for conn in queues.pop_expired()] == ["page"]
    assert len(queues) == 1
    conn, has_begun = queues.pop()
    assert (conn.name, has_begun) == ("answer", True)
