"""Addresses that a caller can make PyOCI connect to: none in the private network, in any spelling. A canary
listens at every address of this machine, and must not get a connection.
"""

from __future__ import annotations

import re
import socket
import string
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests

from tests.builders import make_wheel
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.sockets import PATIENCE, exchange, is_well, make_head, statuses
from tests.net.test_addresses import NOBODYS, PRIVATE

pytestmark = pytest.mark.live()

# {port} is the canary's. None of them makes the system ask a name server.
SPELLINGS = {
    "loopback": "127.0.0.1:{port}",
    "loopback, another": "127.8.9.10:{port}",
    "short": "127.1:{port}",
    "shorter": "127:{port}",
    "decimal": "2130706433:{port}",
    "hexadecimal": "0x7f000001:{port}",
    "hexadecimal parts": "0x7f.0x0.0x0.0x1:{port}",
    "octal": "0177.0.0.1:{port}",
    "octal in one": "017700000001:{port}",
    "mixed": "0x7f.1:{port}",
    "leading zeros": "127.0.0.001:{port}",
    "this network": "0.0.0.0:{port}",
    "this network, short": "0:{port}",
    "IPv6": "[::1]:{port}",
    "IPv6 in full": "[0:0:0:0:0:0:0:1]:{port}",
    "IPv6 with zeros": "[0000::0001]:{port}",
    "unspecified": "[::]:{port}",
    "mapped": "[::ffff:127.0.0.1]:{port}",
    "mapped, hexadecimal": "[::ffff:7f00:1]:{port}",
    "mapped, capitals": "[::FFFF:7F00:1]:{port}",
    "compatible": "[::127.0.0.1]:{port}",
    "NAT64": "[64:ff9b::7f00:1]:{port}",
    "6to4": "[2002:7f00:1::]:{port}",
    "translated": "[::ffff:0:127.0.0.1]:{port}",
    "a zone": "[::1%25lo]:{port}",
    "a zone, encoded twice": "[fe80::1%2525lo]:{port}",
    "without brackets": "::1:{port}",
    "brackets around IPv4": "[127.0.0.1]:{port}",
    "name": "localhost:{port}",
    "capitals": "LOCALHOST:{port}",
    "trailing dot": "localhost.:{port}",
    "trailing dot of an address": "127.0.0.1.:{port}",
    "two dots": "127.0.0.1..:{port}",
    "a dot ahead": ".127.0.0.1:{port}",
    "user info": "registry.example@127.0.0.1:{port}",
    "user and password": "registry.example:443@127.0.0.1:{port}",
    "user info, encoded": "registry.example%40127.0.0.1:{port}",
    "user info, encoded twice": "registry.example%2540127.0.0.1:{port}",
    "user info behind": "127.0.0.1:{port}@registry.example",
    "fragment": "127.0.0.1:{port}%23.registry.example",
    "fragment, encoded twice": "127.0.0.1:{port}%2523.registry.example",
    "query": "127.0.0.1:{port}%3F.registry.example",
    "query, encoded twice": "127.0.0.1:{port}%253F.registry.example",
    "slash, encoded twice": "127.0.0.1:{port}%252F.registry.example",
    "backslash": "127.0.0.1:{port}%5C.registry.example",
    "backslash and user": "registry.example%5C@127.0.0.1:{port}",
    "blank": "127.0.0.1%20:{port}",
    "blank behind": "127.0.0.1:{port}%20",
    "tab": "127.0.0.1%09:{port}",
    "NUL": "127.0.0.1%00.registry.example:{port}",
    "line": "127.0.0.1:{port}%0d%0aHost:%20x",
    "line, encoded twice": "127.0.0.1:{port}%250d%250a",
    "encoded": "%31%32%37.0.0.1:{port}",
    "encoded twice": "%2531%2532%2537.0.0.1:{port}",
    "encoded three times": "%252531%252532%252537.0.0.1:{port}",
    "encoded colon": "127.0.0.1%3A{port}",
    "encoded colon, twice": "127.0.0.1%253A{port}",
    "full-width digits": "\uff11\uff12\uff17.0.0.1:{port}",
    "circled digits": "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{port}",
    "ideographic dots": "127\u30020\u30020\u30021:{port}",
    "full-width dots": "127\uff0e0\uff0e0\uff0e1:{port}",
    "full-width name": "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54:{port}",
    "mathematical name": "\U0001d4c1\U0001d45c\U0001d4b8alhost:{port}",
    "long s": "localho\u017ft:{port}",
    "soft hyphen": "local\u00adhost:{port}",
    "zero width": "local\u200bhost:{port}",
    "right to left": "\u202elocalhost:{port}",
    "punycode": "xn--localhost-:{port}",
    "https": "https%3A%2F%2F127.0.0.1%3A{port}",
    "https, plain": "https://127.0.0.1:{port}",
    "https, merged": "https:/127.0.0.1:{port}",
    "https, name": "https%3A%2F%2Flocalhost%3A{port}",
    "http": "http%3A%2F%2F127.0.0.1%3A{port}",
    "http, plain": "http://127.0.0.1:{port}",
    "http, merged": "http:/127.0.0.1:{port}",
    "http, capitals": "HTTP%3A%2F%2F127.0.0.1%3A{port}",
    "http, encoded twice": "http%253A%252F%252F127.0.0.1%253A{port}",
    "http, encoded three times": "http%25253A%25252F%25252F127.0.0.1%25253A{port}",
    "http, IPv6": "http%3A%2F%2F%5B%3A%3A1%5D%3A{port}",
    "http, user": "http%3A%2F%2Fregistry.example%40127.0.0.1%3A{port}",
    "http, backslashes": "http%3A%5C%5C127.0.0.1%3A{port}",
    "http, three slashes": "http%3A%2F%2F%2F127.0.0.1%3A{port}",
    "http in https": "https%3A%2F%2Fhttp%3A%2F%2F127.0.0.1%3A{port}",
    "no scheme": "%2F%2F127.0.0.1%3A{port}",
    "ftp": "ftp%3A%2F%2F127.0.0.1%3A{port}",
    "gopher": "gopher%3A%2F%2F127.0.0.1%3A{port}",
    "file": "file%3A%2F%2F127.0.0.1%3A{port}",
    "embedded": "embedded%3A%2F%2Flocal",
    "a second port": "127.0.0.1:{port}:443",
    "port with a sign": "127.0.0.1:+{port}",
    "port in Arabic digits": "127.0.0.1:\u0661\u0662\u0663\u0664",
    "port 0": "127.0.0.1:0",
    "port beyond": "127.0.0.1:99999",
    "port wrapped": "127.0.0.1:{wrapped}",
    "no port": "127.0.0.1:",
}
REFUSED = {400, 403, 404, 504}
UNREACHED = (
    b"could not be reached; unless PYOCI_REGISTRIES lists it,"
    b" a registry needs a public address and a valid certificate"
)
METHODS = {
    "page": "GET /{registry}/acme/hello/",
    "root": "GET /{registry}/acme/+simple/",
    "legacy": "GET /{registry}/acme/hello/json",
    "file": "GET /{registry}/acme/hello/hello-1.0.tar.gz",
    "head": "HEAD /{registry}/acme/hello/hello-1.0.tar.gz",
    "metadata": "GET /{registry}/acme/hello/hello-1.0-py3-none-any.whl.metadata",
    "delete": "DELETE /{registry}/acme/hello/1.0",
}


class Canary:
    """Listens at every address of this machine, and counts connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            visitor.close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    made.close()


@pytest.fixture(scope="module", params=["", "http://127.0.0.1:1, *"], ids=["anyone", "listed"])
def open_pyoci(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Server]:
    """PyOCI that allows any public registry; with another port of this machine in its list, and without."""
    port = Port()
    name = f"open-pyoci-{len(request.param)}"
    yield start_pyoci(servers, name, port, WEB_CONCURRENCY="1", PYOCI_REGISTRIES=request.param)
    port.close()


def asked(server: Server, line: str) -> int:
    """The status of a request for `line`, with non-ASCII characters encoded."""
    line = quote(line, safe=string.printable)
    (status,) = statuses(exchange(server, make_head(f"{line} HTTP/1.1", "Connection: close")))
    return status


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_canary_sees_connections(address: str) -> None:
    """This shows that the other tests can fail."""
    bird = Canary()
    with socket.create_connection((address, bird.port), 10) as visitor:
        visitor.settimeout(60)
        assert visitor.recv(1) == b""
    bird.close()
    assert bird.connections == 1


@pytest.mark.parametrize("port", ["canary", "443"])
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_private_addresses_are_refused_in_any_spelling(
    open_pyoci: Server, canary: Canary, spelling: str, port: str
) -> None:
    """Without a connection."""
    number = canary.port if port == "canary" else 443
    registry = spelling.format(port=number, wrapped=number + 65536)
    assert asked(open_pyoci, METHODS["page"].format(registry=registry)) in REFUSED
    assert canary.connections == 0


@pytest.mark.parametrize("line", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("spelling", ["127.0.0.1:{port}", "[::ffff:7f00:1]:{port}", "2130706433:{port}"])
def test_no_method_leads_inside(open_pyoci: Server, canary: Canary, line: str, spelling: str) -> None:
    """For any method."""
    registry = spelling.format(port=canary.port)
    assert asked(open_pyoci, line.format(registry=registry)) == 403
    assert canary.connections == 0


@pytest.mark.parametrize("address", (PRIVATE | NOBODYS).values(), ids=PRIVATE | NOBODYS)
def test_no_address_inside_is_asked(open_pyoci: Server, address: str) -> None:
    """Private, link-local, multicast and reserved addresses look like unreachable ones. No port except 443 is
    used.
    """
    host = f"[{address}]" if ":" in address else address
    answer = exchange(open_pyoci, make_head(f"GET /{host}:443/acme/hello/ HTTP/1.1", "Connection: close"))
    assert statuses(answer) == [504]
    shown = re.search(rb"\r\n\r\n(\[[0-9a-f:.]+\]|[0-9.]+) (could not be reached; unless .*)", answer)
    assert shown is not None
    assert shown[2].strip() == UNREACHED
    assert re.search(rb"(?i)content-type: text/plain; charset=utf-8\r\n", answer)
    other = exchange(open_pyoci, make_head(f"GET /{host}:9/acme/hello/ HTTP/1.1", "Connection: close"))
    assert statuses(other) == [403]
    assert b"PYOCI_REGISTRIES" in other


@pytest.mark.parametrize("host", ["vm", "no-such-name.invalid", "localhost", "127.0.0.1", "2130706433"])
def test_internal_names_look_like_unknown_names(open_pyoci: Server, host: str) -> None:
    """So a network's names can't be enumerated."""
    answer = exchange(open_pyoci, make_head(f"GET /{host}:443/acme/hello/ HTTP/1.1", "Connection: close"))
    assert statuses(answer) == [504]
    assert answer.partition(b"\r\n\r\n")[2].strip() == host.encode() + b" " + UNREACHED


def test_an_upload_leads_nowhere(open_pyoci: Server, canary: Canary) -> None:
    """A valid form for an internal registry is read to its end, and refused."""
    filename, content = make_wheel()
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{open_pyoci.url}/127.0.0.1:{canary.port}/acme/",
            data=form,
            files={"content": (filename, content)},
            timeout=PATIENCE,
        )
    assert answer.status_code == 403
    assert canary.connections == 0
    assert is_well(open_pyoci)
