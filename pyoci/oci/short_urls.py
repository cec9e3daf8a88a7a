"""Short URLs: names that stand in a URL for a registry and a namespace in it, as the operator chose them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from pyoci.errors import InvalidRequest, PyOCIError
from pyoci.oci.references import Repository, shown
from pyoci.oci.registries import LOCAL, Registries, check_name, could_be_a_host

# PYOCI_DEFAULT_INDEX is found where clients look for PyPI's: at /simple/, /pypi/ and /legacy/.
DEFAULT = "simple"
# First segments of URLs that are, or may become, PyOCI's own: no alias and no short URL is called so.
RESERVED = frozenset({"_", "health", "ready", "metrics", "v2", DEFAULT, "pypi", "legacy", LOCAL})
_TARGET = re.compile(r"((?:https?://)?[^/]+)/([^/].*?)/?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ShortUrl:
    """What a name stands for: a registry as the operator wrote it, and the path of a namespace there."""

    registry: str
    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, registries: Registries) -> Self:
        """Read `<registry>/<namespace>`. Raises InvalidRequest, and what Registries.parse() does."""
        found = _TARGET.fullmatch(text) if text.isascii() else None
        if found is None:
            raise InvalidRequest("this is no namespace; expected <registry>/<namespace>, as ghcr.io/acme")
        registry, path = found[1].lower(), found[2].lower()
        if not ("://" in registry or could_be_a_host(registry) or registries.knows(registry)):
            raise InvalidRequest(f"{shown(registry)} is not a registry; expected a host, a URL or an alias")
        return cls(registry, tuple(Repository.parse(registries.parse(registry), path).name.split("/")))


@dataclass(frozen=True, slots=True)
class ShortUrls:
    """The short URLs by name. `alone`: nothing else is served."""

    urls: Mapping[str, ShortUrl] = field(default_factory=dict)
    alone: bool = False

    @classmethod
    def read(cls, text: str, registries: Registries, *, reserved: Iterable[str] = ()) -> Self:
        """Read a comma-separated list of `name=<registry>/<namespace>`.

        Raises ValueError with every mistake in it, one a line.
        """
        urls: dict[str, ShortUrl] = {}
        mistakes: list[str] = []
        for entry in (entry.strip() for entry in text.split(",") if entry.strip()):
            name, _, target = (part.strip() for part in entry.partition("="))
            try:
                check_name(name, reserved, urls, "a short URL's name")
                if name in registries.aliases:
                    raise InvalidRequest(f"{name!r} is an alias in PYOCI_REGISTRIES; choose another")
                urls[name] = ShortUrl.parse(target, registries)
            except PyOCIError as exc:
                mistakes.append(f"{shown(name)}: {exc.message}")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return cls(urls)

    def find(self, name: str) -> ShortUrl | None:
        """What a URL's first segment stands for, in any case; None where it is no short URL's name."""
        return self.urls.get(name.lower())

    def name_in(self, registry: str) -> str | None:
        """The first short URL of a namespace in `registry`."""
        return next((name for name, url in self.urls.items() if url.registry == registry), None)
