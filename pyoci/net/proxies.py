"""Proxies: which one a URL goes through, by HTTP(S)_PROXY and NO_PROXY. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it


@dataclass(frozen=True, slots=True)
class Proxies:
    """HTTP(S)_PROXY and NO_PROXY, as the operator set them. A proxy's URL may carry a password."""

    by_scheme: Mapping[str, str] = field(default_factory=dict, repr=False)
    exempt: str = ""

    def for_url(self, url: str) -> dict[str, str]:
        """The proxy for `url`, in the form that requests takes; empty where there is none."""
        scheme, host = urlsplit(url)[:2]
        proxy = self.by_scheme.get(scheme)
        if not proxy or proxy_bypass_environment(host, {"no": self.exempt}) or self._exempts_address(url):
            return {}
        return {scheme: proxy}

    def _exempts_address(self, url: str) -> bool:
        """Whether NO_PROXY has a network (`10.0.0.0/8`) that holds the URL's address, if it names one."""
        try:
            address = ip_address(urlsplit(url).hostname or "")
        except ValueError:
            return False
        return any(address in network for network in _networks(self.exempt))


def _networks(exempt: str) -> Iterator[IPv4Network | IPv6Network]:
    for entry in exempt.split(","):
        try:
            yield ip_network(entry.strip(), strict=False)
        except ValueError:
            continue
