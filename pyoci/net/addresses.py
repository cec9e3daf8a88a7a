"""Which addresses a call may reach, and the check of a resolved name against that."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from cachetools import TTLCache

from pyoci.errors import Denied, Unreachable

_TRIES = 4  # addresses of one name that are worth a connection attempt
_ANSWERED = 1024  # names
_ANSWERED_SECONDS = 600.0
_RESOLVERS = 16  # names looked up at one time
# Where clouds answer their machines with secrets: Azure (public by its number), Alibaba, Amazon.
_PLATFORM = frozenset(map(ip_address, ("168.63.129.16", "100.100.100.200", "fd00:ec2::254")))
_NAT64 = IPv6Network("64:ff9b::/96")
# What some Pythons from 3.11 on call global: Oracle's metadata is in the first, the rest lead nowhere, or
# where a network's own NAT64 says.
_NOT_GLOBAL = tuple(
    map(ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "2001::/23", "3fff::/20", "5f00::/16", "fec0::/10"))
)
_COMPATIBLE = IPv6Network("::/96")
# Python's is_private means "not global", reserved and documentation networks included.
_PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
) + tuple(map(ip_network, ("::1/128", "fc00::/7")))

Address = IPv4Address | IPv6Address
Lookup = Callable[[str, int], list[str]]


class Reach(Enum):
    """How far a call may go. There is one adapter for each, so that no pooled connection changes hands."""

    PUBLIC = "public"  # https to public addresses: what any caller may name
    # Public addresses, named by a registry that the operator listed: a proxy may be used, and plain http
    # where that registry speaks it itself.
    VOUCHED = "vouched"
    PRIVATE = "private"  # private and loopback addresses too: named by a listed registry that has one itself
    LISTED = "listed"  # wherever the operator's own list leads
    EMBEDDED = "embedded"  # the registry inside this process, and nothing else


def permitted(address: Address, reach: Reach) -> bool:
    """Whether a call of this reach may connect to `address`."""
    if reach is Reach.LISTED:
        return True
    inner = _inner(address)
    if reach is Reach.PRIVATE and _is_private(inner):
        return True
    return reach is not Reach.EMBEDDED and _is_public(inner)


def _inner(address: Address) -> Address:
    """The IPv4 address inside a mapped, compatible, 6to4 or NAT64 one: that is where packets go."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    local = address.is_multicast or address.is_reserved or address.is_unspecified or address in _PLATFORM
    return address.is_global and not local and not any(address in network for network in _NOT_GLOBAL)


def _is_private(address: Address) -> bool:
    """Loopback and private networks; never link-local (cloud metadata), multicast or reserved ones."""
    return address not in _PLATFORM and any(address in network for network in _PRIVATE)


def system_lookup(host: str, port: int) -> list[str]:
    """The addresses of `host` as the system's resolver gives them, each once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Looks names up within a time, which getaddrinfo does not have."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        # Names that callers made up, and that hang, keep nobody from the operator's own registries, nor from
        # those that have answered lately.
        self._strangers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")
        self._known = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve-known")
        self._listed = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve-listed")
        self._lock = threading.Lock()
        self._answered: TTLCache[str, bool] = TTLCache(_ANSWERED, _ANSWERED_SECONDS)

    def addresses(self, host: str, port: int, timeout: float, *, listed: bool = True) -> list[Address]:
        """Every address of `host`. Raises OSError where it has none, Unreachable after `timeout` seconds."""
        host = host.strip("[]").partition("%")[0]
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        waiting = self._threads(host, listed).submit(self._lookup, host, port)
        try:
            found = waiting.result(timeout)
        except TimeoutError:
            waiting.cancel()
            raise Unreachable(f"the name {host} could not be looked up in time") from None
        except UnicodeError as exc:
            raise OSError(f"{host} is not a host name") from exc
        with self._lock:
            self._answered[host] = True
        return [ip_address(text.partition("%")[0]) for text in found]

    def _threads(self, host: str, listed: bool) -> ThreadPoolExecutor:
        if listed:
            return self._listed
        with self._lock:
            return self._known if host in self._answered else self._strangers

    def permitted(self, host: str, port: int, reach: Reach, timeout: float) -> list[str]:
        """The addresses to connect to. Raises Denied where **any** address of the name is refused:
        a name with a public and a private address is somebody trying.
        """
        found = self.addresses(host, port, timeout, listed=reach is not Reach.PUBLIC)
        if not all(permitted(address, reach) for address in found):
            raise Denied(
                f"{host} has an address that is not public; only a registry listed in PYOCI_REGISTRIES may"
            )
        return [str(address) for address in found[:_TRIES]]

    def is_private(self, host: str, port: int, timeout: float = 5) -> bool:
        """Whether the operator's own registry `host` stands in a private network."""
        try:
            found = self.addresses(host, port, timeout)
        except (OSError, Unreachable):
            return False
        return any(_is_private(_inner(address)) for address in found)

    def close(self) -> None:
        """Look nothing up any more."""
        for threads in (self._strangers, self._known, self._listed):
            threads.shutdown(wait=False, cancel_futures=True)
