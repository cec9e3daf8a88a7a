"""The addresses that a call of each reach may connect to."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.errors import Denied, Unreachable
from pyoci.net.addresses import Reach, Resolver, permitted, system_lookup

PUBLIC = {
    "public": "8.8.8.8",
    "public v6": "2606:4700::1111",
    "public inside a mapped address": "::ffff:8.8.8.8",
    "public inside a compatible address": "::8.8.8.8",
    "public inside NAT64": "64:ff9b::808:808",
    "public inside 6to4": "2002:808:808::1",
    "public inside a NAT64 of the network's own": "2a00:1450:1:2::808:808",
    "a small number": "2606:50c0:8000::153",
    "a number of a CDN": "2606:4700:10::6816:1234",
    "a random identifier": "2a01:4f8:c17:b0f:5efe:a00:1:2",
}
PRIVATE = {
    "loopback": "127.0.0.1",
    "loopback, another": "127.8.9.10",
    "ten": "10.0.0.1",
    "one hundred and seventy-two": "172.31.255.255",
    "one hundred and ninety-two": "192.168.1.1",
    "shared by a carrier": "100.64.0.1",
    "loopback v6": "::1",
    "unique local": "fd12:3456::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "compatible private": "::10.0.0.1",
    "NAT64 private": "64:ff9b::a00:1",
    "6to4 private": "2002:a00:1::1",
    "unique local, private inside": "fd12:3456::a00:1",
}
NOBODYS = {
    "this network": "0.0.0.0",
    "this network, another": "0.1.2.3",
    "unspecified v6": "::",
    "cloud metadata": "169.254.169.254",
    "mapped metadata": "::ffff:169.254.169.254",
    "NAT64 metadata": "64:ff9b::a9fe:a9fe",
    "NAT64 for local use": "64:ff9b:1::a9fe:a9fe",
    "6to4 metadata": "2002:a9fe:a9fe::1",
    "link-local v6": "fe80::1",
    "site-local v6": "fec0::1",
    "Azure's platform": "168.63.129.16",
    "Azure's platform, mapped": "::ffff:168.63.129.16",
    "Azure's platform, 6to4": "2002:a83f:8110::1",
    "Alibaba's platform": "100.100.100.200",
    "Amazon's platform v6": "fd00:ec2::254",
    "multicast": "224.0.0.1",
    "multicast v6": "ff02::1",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "documentation": "192.0.2.1",
    "documentation v6": "2001:db8::1",
    "benchmarking": "198.18.0.1",
    "protocol assignments, Oracle's metadata": "192.0.0.192",
    "protocol assignments, dummy": "192.0.0.8",
    "AS112": "192.31.196.1",
    "AS112, direct delegation": "192.175.48.1",
    "AS112 v6": "2001:4:112::1",
    "AS112 v6, direct delegation": "2620:4f:8000::1",
    "multicast tunnels": "192.52.193.1",
    "multicast tunnels v6": "2001:3::1",
    "6to4 relays": "192.88.99.1",
    "6to4 relays, mapped": "::ffff:192.88.99.1",
    "6to4 relays, 6to4": "2002:c058:6301::1",
    "ISATAP private": "2a00:1450::5efe:10.0.0.1",
    "ISATAP metadata": "2a00:1450::5efe:169.254.169.254",
    "ISATAP public": "2a00:1450::200:5efe:8.8.8.8",
    "ISATAP link-local": "fe80::5efe:10.0.0.1",
    "ISATAP unique local": "fd12:3456::5efe:10.0.0.1",
    "NAT64 for local use, public inside": "64:ff9b:1::808:808",
    "NAT64 of the network's own, /32": "2a00:1450:a00:1::",
    "NAT64 of the network's own, /40": "2a00:1450:10a:0:1::",
    "NAT64 of the network's own, /48": "2a00:1450:1:a00:0:100::",
    "NAT64 of the network's own, /56": "2a00:1450:1:20a:0:1::",
    "NAT64 of the network's own, /64": "2a00:1450:1:2:a:0:100:0",
    "NAT64 of the network's own, /96": "2a00:1450:1:2::10.0.0.1",
    "NAT64 of the network's own, /96 of four words": "2a00:1450:1:2:3:4:192.168.1.1",
    "NAT64 of the network's own, loopback": "2a00:1450:1:2::127.0.0.1",
    "NAT64 of the network's own, metadata": "2a00:1450:1:2::169.254.169.254",
    "NAT64 of the network's own, Azure": "2a00:1450:1:2::168.63.129.16",
    "NAT64 of the network's own, unique local": "fd12:3456::169.254.169.254",
    "Teredo": "2001::1",
    "Teredo, private inside": "2001:0:808:808::f5ff:fffe",
    "benchmarking v6": "2001:2::1",
    "ORCHID": "2001:10::1",
    "ORCHID, version 2": "2001:20::1",
    "drones": "2001:30::1",
    "documentation v6, the second": "3fff::1",
    "segment routing": "5f00::1",
    "dummy prefix": "100:0:0:1::1",
    "6bone": "3ffe::1",
    "IPv6 that is not allocated": "4000::1",
    "Google's platform v6": "fd20:ce::254",
    "Oracle's platform v6": "fd00:c1::a9fe:a9fe",
    "Scaleway's platform v6": "fd00:42::42",
    "documentation, the second": "198.51.100.1",
    "documentation, the third": "203.0.113.1",
    "IPv4 translated": "::ffff:0:8.8.8.8",
    "discard": "100::1",
}
EVERYWHERE = PUBLIC | PRIVATE | NOBODYS


@pytest.mark.parametrize("address", PUBLIC.values(), ids=PUBLIC)
@pytest.mark.parametrize("reach", [Reach.PUBLIC, Reach.VOUCHED, Reach.PRIVATE, Reach.LISTED])
def test_public_address_is_permitted_for_every_reach(address: str, reach: Reach) -> None:
    """Also if it is inside an IPv6 address."""
    assert permitted(ip_address(address), reach)


@pytest.mark.parametrize("address", PRIVATE.values(), ids=PRIVATE)
def test_private_address_is_permitted_for_listed_registries(address: str) -> None:
    """And for hosts that a listed registry in a private network names."""
    allowed = {reach for reach in Reach if permitted(ip_address(address), reach)}
    assert allowed == {Reach.PRIVATE, Reach.LISTED}


@pytest.mark.parametrize("address", NOBODYS.values(), ids=NOBODYS)
def test_other_addresses_are_permitted_only_for_listed_hosts(address: str) -> None:
    """A host that a registry names may not be at a metadata, multicast or reserved address."""
    allowed = {reach for reach in Reach if permitted(ip_address(address), reach)}
    assert allowed == {Reach.LISTED}


@pytest.mark.parametrize("address", EVERYWHERE.values(), ids=EVERYWHERE)
def test_embedded_reach_permits_no_address(address: str) -> None:
    """Such a call stays in this process."""
    assert not permitted(ip_address(address), Reach.EMBEDDED)


@given(st.ip_addresses())
def test_wider_reach_permits_more(address: object) -> None:
    """No address raises. An address that is permitted for PUBLIC is permitted for all."""
    judged = {reach for reach in Reach if permitted(address, reach)}  # type: ignore[arg-type]
    assert Reach.PUBLIC not in judged or judged == set(Reach) - {Reach.EMBEDDED}


@pytest.mark.parametrize(
    "spelling", ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "[::1]", "localhost"]
)
def test_spellings_of_loopback_are_refused(spelling: str) -> None:
    """The system's resolver parses decimal, octal and hexadecimal numbers. The resulting
    address is checked.
    """
    for reach, kind in ((Reach.PUBLIC, Unreachable), (Reach.VOUCHED, Denied)):
        with pytest.raises((kind, socket.gaierror)):
            Resolver().permitted(spelling, 443, reach, 5)


@pytest.mark.parametrize("private", ["10.0.0.1", "169.254.169.254", "::1"])
@pytest.mark.parametrize("first", [True, False])
def test_a_name_with_one_refused_address_is_refused(private: str, first: bool) -> None:
    """A name with a public and a private address is an attack."""
    answers = [private, "8.8.8.8"] if first else ["8.8.8.8", private]
    for reach, kind in ((Reach.PUBLIC, Unreachable), (Reach.VOUCHED, Denied)):
        with pytest.raises(kind, match="PYOCI_REGISTRIES"):
            Resolver(lambda *_: answers).permitted("trick.example", 443, reach, 5)


def test_at_most_four_addresses_are_tried() -> None:
    """A name with many addresses causes at most four attempts."""
    many = [f"8.8.8.{number}" for number in range(1, 20)]
    assert Resolver(lambda *_: many).permitted("many.example", 443, Reach.PUBLIC, 5) == many[:4]


def test_zone_is_removed_from_an_address() -> None:
    """The resolver may add the interface to a link-local address."""
    with pytest.raises(Unreachable):
        Resolver(lambda *_: ["fe80::1%eth0"]).permitted("zone.example", 443, Reach.PUBLIC, 5)


def test_lookup_has_a_timeout() -> None:
    """getaddrinfo has none."""
    release = threading.Event()

    def hang(*_: object) -> list[str]:
        release.wait(60)
        return []

    with pytest.raises(Unreachable, match="in time"):
        Resolver(hang).permitted("slow.example", 443, Reach.PUBLIC, 0.05)
    release.set()


def test_unknown_names_do_not_delay_others() -> None:
    """While lookups for callers' names hang, listed registries and names that were resolved before are still
    looked up.
    """
    release = threading.Event()

    def lookup(host: str, _port: int) -> list[str]:
        if host.startswith("slow"):
            release.wait(60)
        return ["8.8.8.8"]

    resolver = Resolver(lookup)
    resolver.permitted("known.example", 443, Reach.PUBLIC, 5)
    for number in range(20):
        with pytest.raises(Unreachable):
            resolver.permitted(f"slow{number}.example", 443, Reach.PUBLIC, 0.001)
    for host, reach in (("own.example", Reach.LISTED), ("known.example", Reach.PUBLIC)):
        assert resolver.permitted(host, 443, reach, 5) == ["8.8.8.8"]
    release.set()


def test_invalid_name_has_no_address() -> None:
    """A label of more than 63 characters can't be encoded."""
    with pytest.raises(OSError, match="not a host name"):
        Resolver().addresses("a" * 64 + ".example", 443, 5)


@pytest.mark.parametrize(
    ("answers", "private"),
    [(["10.0.0.1"], True), (["::ffff:127.0.0.1"], True), (["8.8.8.8"], False), (["169.254.169.254"], False)],
)
def test_private_registry_is_recognised(answers: list[str], private: bool) -> None:
    """A listed registry in a private network may name private hosts."""
    assert Resolver(lambda *_: answers).is_private("own.example", 443) is private


def test_a_registry_without_an_address_is_not_private() -> None:
    """It may then name public hosts only."""

    def fail(*_: object) -> list[str]:
        raise socket.gaierror("no such name")

    assert not Resolver(fail).is_private("gone.example", 443)


def test_system_lookup_removes_duplicates() -> None:
    """Each address of localhost is returned once."""
    found = system_lookup("localhost", 80)
    assert "127.0.0.1" in found
    assert len(found) == len(set(found))


def test_a_closed_resolver_looks_nothing_up() -> None:
    """Its threads have ended."""
    resolver = Resolver(lambda *_: ["8.8.8.8"])
    resolver.close()
    with pytest.raises(RuntimeError):
        resolver.addresses("late.example", 443, 1)
