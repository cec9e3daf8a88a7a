"""Reach: the addresses that a call may connect to; and Resolver, which looks names up and checks the
addresses.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from cachetools import TTLCache

from pyoci.errors import Denied, Unreachable
from pyoci.request_scope import result_of

_TRIES = 4  # addresses of one name to which a connection is attempted
_ANSWERED = 1024  # recently resolved names
_ANSWERED_SECONDS = 600.0
_RESOLVERS = 16  # concurrent lookups of each kind
# The metadata services of clouds that have an address of their own: Azure, Alibaba, Amazon, Google, Oracle,
# Scaleway. The others are link-local.
_PLATFORM = frozenset(
    map(
        ip_address,
        (
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
# Ranges of IANA's special-purpose registries (and the 6bone's) that Python calls global, at least in some
# releases since 3.11. No OCI registry has an address in them.
_NOT_GLOBAL = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # multicast tunnels
            "192.88.99.0/24",  # the next 6to4 relay
            "192.175.48.0/24",  # AS112
            "64:ff9b:1::/48",  # a network's own NAT64
            "100:0:0:1::/64",  # dummy prefix
            "2001::/23",  # protocol assignments: Teredo, ORCHID, AMT, AS112
            "2620:4f:8000::/48",  # AS112
            "3ffe::/16",  # 6bone
            "3fff::/20",  # documentation
            "5f00::/16",  # segment routing
            "fec0::/10",  # site-local
        ),
    )
)
# The prefixes of an interface identifier with the IPv4 address of an ISATAP host (RFC 5214).
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
# The bytes of an IPv6 address at which a NAT64 prefix may end (RFC 6052, section 2.2). Byte 8 is zero.
_NAT64_PREFIXES = (4, 5, 6, 7, 8, 12)
_COMPATIBLE = IPv6Network("::/96")
# Python's is_private means "not global", reserved and documentation networks included.
_PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
) + tuple(map(ip_network, ("::1/128", "fc00::/7")))

PUBLIC_PORT = 443  # the only port for Reach.PUBLIC: with others, PyOCI could be used to scan ports

Address = IPv4Address | IPv6Address
Lookup = Callable[[str, int], list[str]]


class Reach(Enum):
    """The addresses that a call may connect to. Each has its own adapter, so that connections aren't shared
    between them.
    """

    PUBLIC = "public"  # https to public addresses at port 443: any caller may name such a host
    # Public addresses that a listed registry names. Proxies are allowed, and plain http if the registry
    # itself uses it.
    VOUCHED = "vouched"
    # Private and loopback addresses, too, for a listed registry with such an address.
    PRIVATE = "private"
    LISTED = "listed"  # any address: the operator listed the host
    EMBEDDED = "embedded"  # only the registry in this process


def permitted(address: Address, reach: Reach) -> bool:
    """Whether a call with this reach may connect to `address`."""
    if reach is Reach.LISTED:
        return True
    inner = _inner(address)
    if reach is Reach.PRIVATE and _is_private(inner):
        return True
    return reach is not Reach.EMBEDDED and _is_public(inner)


def other_port(name: str) -> str:
    """The message that refuses a registry at another port than `PUBLIC_PORT`."""
    return (
        f"{name} is not allowed: only a registry that PYOCI_REGISTRIES lists may use another port"
        f" than {PUBLIC_PORT}"
    )


def _inner(address: Address) -> Address:
    """The IPv4 address inside a mapped, compatible, 6to4 or NAT64 address: where packets go."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _nat64_targets(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses to which a NAT64 would send packets for `address`, for each prefix length."""
    packed = address.packed
    if len(packed) == 4 or packed[8] != 0:
        return []
    found = []
    for start in _NAT64_PREFIXES:
        rest = packed[start:8] + packed[9:] if start < 8 else packed[max(start, 9) :]
        if not any(rest[4:]):
            found.append(IPv4Address(rest[:4]))
    return found


def _is_isatap(address: Address) -> bool:
    return address.packed[8:12] in _ISATAP


def _is_public(address: Address) -> bool:
    local = address.is_multicast or address.is_reserved or address.is_unspecified or address in _PLATFORM
    if local or not address.is_global or any(address in network for network in _NOT_GLOBAL):
        return False
    # Any prefix may belong to a NAT64 or a tunnel.
    return not _is_isatap(address) and not any(
        inner.is_link_local or inner in _PLATFORM or _is_private(inner) for inner in _nat64_targets(address)
    )


def _is_private(address: Address) -> bool:
    """Whether it is in a loopback or private network; link-local, multicast and reserved ones are not
    private.
    """
    if address in _PLATFORM or _is_isatap(address):
        return False
    if any(inner.is_link_local or inner in _PLATFORM for inner in _nat64_targets(address)):
        return False
    return any(address in network for network in _PRIVATE)


def system_lookup(host: str, port: int) -> list[str]:
    """The addresses of `host` from the system's resolver, without duplicates."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class NotResolved(Unreachable):
    """The addresses of a name weren't found in time."""


class Resolver:
    """Looks names up with a timeout, which getaddrinfo doesn't have."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        # Separate threads, so that lookups that hang for names from callers delay neither the operator's
        # registries nor names that were resolved recently.
        self._unknown = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")
        self._known = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve-known")
        self._listed = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve-listed")
        self._lock = threading.Lock()
        self._answered: TTLCache[str, bool] = TTLCache(_ANSWERED, _ANSWERED_SECONDS)

    def addresses(self, host: str, port: int, timeout: float, *, listed: bool = True) -> list[Address]:
        """The addresses of `host`. Raises OSError if it has none, NotResolved after `timeout` seconds."""
        host = host.strip("[]").partition("%")[0]
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        waiting = self._threads(host, listed).submit(self._lookup, host, port)
        try:
            found = result_of(waiting, timeout)
        except TimeoutError:
            waiting.cancel()
            raise NotResolved(f"{host} could not be resolved in time") from None
        except UnicodeError as exc:
            raise OSError(f"{host} is not a host name") from exc
        with self._lock:
            self._answered[host] = True
        return [ip_address(text.partition("%")[0]) for text in found]

    def _threads(self, host: str, listed: bool) -> ThreadPoolExecutor:
        if listed:
            return self._listed
        with self._lock:
            return self._known if host in self._answered else self._unknown

    def permitted(self, host: str, port: int, reach: Reach, timeout: float) -> list[str]:
        """The addresses to connect to. Raises Denied if **any** address of the name is refused: a name with
        both a public and a private address is an attack. For Reach.PUBLIC it raises Unreachable instead, as
        for a name without an address. A different error would reveal to outsiders which names exist.
        """
        found = self.addresses(host, port, timeout, listed=reach is not Reach.PUBLIC)
        if not all(permitted(address, reach) for address in found):
            refused = Unreachable if reach is Reach.PUBLIC else Denied
            raise refused(
                f"{host} has an address that is not public; only a registry listed in PYOCI_REGISTRIES may"
            )
        return [str(address) for address in found[:_TRIES]]

    def is_private(self, host: str, port: int, timeout: float = 5) -> bool:
        """Whether the listed registry `host` has an address in a private network."""
        try:
            found = self.addresses(host, port, timeout)
        except (OSError, Unreachable):
            return False
        return any(_is_private(_inner(address)) for address in found)

    def reach_beyond(self, host: str, port: int) -> Reach:
        """The reach of other hosts that a host names which the operator has chosen: they may be private if it
        is private itself.
        """
        return Reach.PRIVATE if self.is_private(host, port) else Reach.VOUCHED

    def close(self) -> None:
        """End the threads; no name can be looked up afterwards."""
        for threads in (self._unknown, self._known, self._listed):
            threads.shutdown(wait=False, cancel_futures=True)
