"""The PyOCI servers that the user has listed with `pyoci login URL`, and which registry's login each may get.

A server whose URL contains `/ghcr.io/` would otherwise receive the login for ghcr.io from whoever opens a
link to it. The list is `pyoci/servers.json` in the user's configuration folder; it has no secrets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pyoci.errors import InvalidRequest, PyOCIError
from pyoci.library.configuration import change_file, configuration_folder
from pyoci.oci.references import Registry, shown
from pyoci.oci.registries import Registries, could_be_a_host

_FILE_LIMIT = 1024 * 1024  # bytes of the list
_PORTS = {"http": 80, "https": 443}
EXPECTED_URL = "expected the URL of a PyOCI server, like https://pypi.example.com/ghcr.io/acme/"


@dataclass(frozen=True, slots=True)
class ListedServer:
    """Indexes whose URLs start with `url` may get the login for the host `registry`."""

    url: str
    registry: str

    @property
    def is_unencrypted(self) -> bool:
        """Whether the login would be sent in the clear over a network."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}

    def namespace_in(self, url: str) -> str | None:
        """The namespace in the URL of an index of this server, "" if its URL doesn't say; None for a URL
        that isn't below this one, and for the address of the server alone.
        """
        below = _below(self.url, url)
        if below is None:
            return None
        own, rest = below
        if not own and not rest:
            return None
        return "/".join(rest) if own and _registry(own[-1]) == self.registry else ""


def listed_server(url: str, registry: str | None = None) -> ListedServer:
    """What is listed for the URL of an index. The registry is `registry`, or the host in the URL's path:
    then all namespaces of that registry are listed, at this server. Raises InvalidRequest.
    """
    if "@" in url:  # its password must not be shown
        raise InvalidRequest("the URL has an @; expected one without user and password")
    parts = _parsed(url)
    if parts is None or parts.query or parts.fragment:
        raise InvalidRequest(f"{shown(url)} is not a URL that can be listed; {EXPECTED_URL}")
    segments, host = _segments(parts), registry_host(registry) if registry is not None else None
    if host is None:
        at = next((i for i, each in enumerate(segments) if could_be_a_host(unquote(each))), None)
        host = _registry(segments[at]) if at is not None else None
        if at is None or host is None:
            raise InvalidRequest(
                f"{shown(url)} doesn't say which registry it is for; expected --registry with its host"
            )
        segments = segments[: at + 1]
    place = f"{parts.scheme.lower()}://{parts.netloc.lower()}/" + "".join(f"{each}/" for each in segments)
    return ListedServer(place, host)


def registry_host(text: str) -> str:
    """The host that the login for a registry is stored for. Raises InvalidRequest."""
    registry = Registries().trusted(text.strip().rstrip("/"))
    if not could_be_a_host(registry.host):
        raise InvalidRequest(f"{shown(text)} is not a registry; expected its host, like ghcr.io")
    return registry.host


def listed_servers(environ: Mapping[str, str]) -> tuple[ListedServer, ...]:
    """All servers that the user has listed. Raises InvalidRequest if the list can't be read."""
    file = _file(environ)
    try:
        with file.open("rb") as content:
            text = content.read(_FILE_LIMIT + 1)
        entries = json.loads(text if len(text) <= _FILE_LIMIT else b"")["servers"]
        known = [ListedServer(url=str(each["url"]), registry=str(each["registry"])) for each in entries]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as exc:
        raise InvalidRequest(f"{file} can't be read: {exc.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidRequest(f"{file} can't be read; expected the list that `pyoci login` writes") from None
    return tuple(known)


def list_server(server: ListedServer, environ: Mapping[str, str]) -> None:
    """Add a server to the list, in place of what was listed with the same URL."""

    def change() -> str | None:
        known = listed_servers(environ)
        others = [each for each in known if each.url != server.url]
        return None if server in known else _written([*others, server])

    change_file(_file(environ), change)


def unlist_server(url: str, environ: Mapping[str, str]) -> tuple[ListedServer, ...]:
    """Remove what is listed for the URL of an index; returns that."""
    removed: list[ListedServer] = []

    def change() -> str | None:
        known = listed_servers(environ)
        removed.extend(each for each in known if _is_for(each, url))
        return _written(each for each in known if each not in removed) if removed else None

    if listed_servers(environ):  # else no folder is made
        change_file(_file(environ), change)
    return tuple(removed)


def find_server(url: str, environ: Mapping[str, str]) -> tuple[ListedServer, str] | None:
    """The listed server that the URL of an index is at, and the namespace: of several the most specific."""
    found = [
        (each, namespace)
        for each in listed_servers(environ)
        if (namespace := each.namespace_in(url)) is not None
    ]
    return max(found, key=lambda each: len(each[0].url), default=None)


def _is_for(server: ListedServer, url: str) -> bool:
    """Whether `url` is what was listed, or an index below it."""
    return _below(server.url, url) is not None


def _below(listed: str, url: str) -> tuple[list[str], list[str]] | None:
    """The segments of a listed URL, and those that follow in `url`; None if that isn't below it."""
    there, here = _parsed(url), _parsed(listed)
    if there is None or here is None or _origin(there) != _origin(here):
        return None
    own, given = _segments(here), _segments(there)
    return (own, given[len(own) :]) if given[: len(own)] == own else None


def _file(environ: Mapping[str, str]) -> Path:
    return configuration_folder(environ) / "pyoci" / "servers.json"


def _written(servers: Iterable[ListedServer]) -> str:
    entries = [{"url": each.url, "registry": each.registry} for each in servers]
    return json.dumps({"servers": entries}, indent=2) + "\n"


def _registry(segment: str) -> str | None:
    with suppress(PyOCIError):
        registry: Registry = Registries().trusted(unquote(segment))
        return registry.host
    return None


def _parsed(url: str) -> SplitResult | None:
    """The parts of an http URL; None for any other text, and for a path that servers may read differently."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    dots = {".", ".."} & {*unquote(parts.path).split("/")}
    return None if parts.scheme not in _PORTS or not parts.hostname or dots else parts


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    port = parts.port or _PORTS[parts.scheme]
    return parts.scheme, (parts.hostname or "").rstrip("."), port


def _segments(parts: SplitResult) -> list[str]:
    return [segment for segment in parts.path.split("/") if segment]
