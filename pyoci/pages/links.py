"""Links that a page may have: to other sites, as packages name them, and to a registry's own pages."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

_LONGEST = 2000  # characters
_GOOGLE = re.compile(r"([a-z0-9-]+)-docker\.pkg\.dev")
_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+")


def outside(url: str) -> str:
    """The URL, if a page may link to it: http, https or mailto, without credentials; else ""."""
    if len(url) > _LONGEST or not url.isprintable() or any(c in url for c in " \"'<>\\`"):
        return ""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return ""
    if parts.scheme == "mailto":
        return url if _ADDRESS.fullmatch(parts.path) else ""
    return url if parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc else ""


def mail(address: str) -> str:
    """A mailto URL, if this is an address; else ""."""
    return f"mailto:{address}" if _ADDRESS.fullmatch(address) else ""


def registry_page(host: str, repository: str) -> str:
    """The page that a registry itself has for a repository; "" where its address isn't known."""
    path = quote(repository)
    if host == "ghcr.io":
        return (
            f"https://ghcr.io/{path}"  # leads on to GitHub's page, of a user's package or an organisation's
        )
    if host in {"registry-1.docker.io", "docker.io"}:
        return f"https://hub.docker.com/r/{path}"
    if host == "quay.io":
        return f"https://quay.io/repository/{path}"
    if host == "registry.gitlab.com":
        return f"https://gitlab.com/{path.rpartition('/')[0]}/container_registry"
    if host.startswith("harbor."):
        return f"https://{host}/harbor/projects"  # further addresses have the number of the project
    if (found := _GOOGLE.fullmatch(host)) and path.count("/") >= 2:
        project, folder, name = path.split("/", 2)
        place = f"{project}/{found[1]}/{folder}/{quote(name, '')}"
        return f"https://console.cloud.google.com/artifacts/docker/{place}"
    return ""
