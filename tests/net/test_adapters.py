"""The proxy for a URL."""

from __future__ import annotations

import pytest

from pyoci.net.adapters import Proxies

BOTH = {"http": "http://one:3128", "https": "http://user:secret@two:3128"}


@pytest.mark.parametrize(
    ("url", "exempt", "proxy"),
    [
        pytest.param("https://ghcr.io/v2/", "", "https", id="https"),
        pytest.param("http://lab:5000/v2/", "", "http", id="http"),
        pytest.param("https://ghcr.io/v2/", "ghcr.io", None, id="exempt by name"),
        pytest.param("https://a.corp.example/v2/", ".corp.example", None, id="exempt by domain"),
        pytest.param("https://notcorp.example/v2/", "corp.example", "https", id="not a subdomain"),
        pytest.param("https://lab:5000/", "lab:5000", None, id="exempt by port"),
        pytest.param("https://lab:5001/", "lab:5000", "https", id="other port"),
        pytest.param("https://ghcr.io/", "*", None, id="all exempt"),
        pytest.param("https://10.1.2.3/", "10.0.0.0/8", None, id="exempt by network"),
        pytest.param("https://[fd00::1]:5000/", "x, fd00::/8", None, id="exempt by v6 network"),
        pytest.param("https://11.1.2.3/", "10.0.0.0/8, nonsense/99", "https", id="other network"),
        pytest.param("https://ten.example/", "10.0.0.0/8", "https", id="a name is no address"),
    ],
)
def test_proxy_is_chosen_by_scheme(url: str, exempt: str, proxy: str | None) -> None:
    """NO_PROXY exempts hosts and networks."""
    assert Proxies(BOTH, exempt).for_url(url) == ({proxy: BOTH[proxy]} if proxy else {})


def test_without_proxies_none_is_used() -> None:
    """The environment's proxies aren't used."""
    assert Proxies().for_url("https://ghcr.io/") == {}


def test_repr_has_no_password() -> None:
    """A repr may be logged."""
    assert "secret" not in repr(Proxies(BOTH))
