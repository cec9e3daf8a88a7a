"""ClientSettings: the settings that count for the `pyoci` command and the library. MirrorSettings: those for
`pyoci mirror` alone. COMMAND: the logins that the command and the library read, for docs/settings.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

from pyoci.config.environment import Reader, Topic, Variable, WrongSettings
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


# `pyoci.library.credentials` reads them: the backend of keyring has to start without the other settings.
COMMAND = Topic(
    "The command",
    (
        Variable(
            names=("PYOCI_USERNAME",),
            meaning="The user name for the index; ``PYOCI_PASSWORD`` has to be set as well.",
        ),
        Variable(
            names=("PYOCI_PASSWORD",),
            meaning="The password or token for the index; ``PYOCI_USERNAME`` has to be set as well.",
        ),
        Variable(
            names=("PYOCI_SOURCE_USERNAME",),
            meaning="""\
The user name for the source of a copy, an import, a mirror or a repair; ``PYOCI_SOURCE_PASSWORD`` has to be
set as well.""",
        ),
        Variable(
            names=("PYOCI_SOURCE_PASSWORD",),
            meaning="""\
The password or token for the source of a copy, an import, a mirror or a repair; ``PYOCI_SOURCE_USERNAME`` has
to be set as well.""",
        ),
    ),
    """\
The ``pyoci`` command and the library read these variables; the server ignores them. `The pyoci command
<command.rst#credentials>`_ describes where else the command looks for credentials.""",
)
