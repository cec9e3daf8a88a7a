"""ClientSettings: the settings that count for the `pyoci` command and the library. MirrorSettings: those for
`pyoci mirror` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

from pyoci.config.environment import Reader, WrongSettings
from pyoci.config.settings import Settings
from pyoci.distributions.names import PrivateProjects
from pyoci.oci.registries import Registries, ShortUrls
from pyoci.upstream.address import FileHosts, UpstreamAddress


class _SomeSettings:
    """Some fields of Settings. Mistakes in the other settings don't matter here."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the environment. Raises WrongSettings, which lists every mistake in these settings."""
        reader = Reader(Settings, environ)
        values = {each.name: reader.value(each.name) for each in fields(cls)}  # type: ignore[arg-type]
        if reader.mistakes:
            raise WrongSettings("these settings can't be used:\n  " + "\n  ".join(reader.mistakes))
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ClientSettings(_SomeSettings):
    """The settings of every verb."""

    registries: Registries
    short_urls: ShortUrls
    embedded: Path | None
    proxies: Mapping[str, str] = field(repr=False)
    no_proxy: str
    ca_bundle: str | None
    host_connections: int
    upstream_file_hosts: FileHosts
    catalog: str


@dataclass(frozen=True, kw_only=True)
class MirrorSettings(_SomeSettings):
    """Where upstream is, and which names it must not hear."""

    registries: Registries
    short_urls: ShortUrls
    upstream: UpstreamAddress | None
    private_projects: PrivateProjects
