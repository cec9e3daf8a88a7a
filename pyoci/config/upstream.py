"""Settings of the package index that is asked for what the registry lacks: PyPI, as a rule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyoci.config.environment import Reader, Variable, combined, optional, setting
from pyoci.config.values import direct_or_proxy, directory, existing_file, number, osv_url, yes_or_no
from pyoci.distributions.names import PrivateProjects
from pyoci.upstream.address import FileHosts, UpstreamAddress, authorization_of
from pyoci.upstream.rules import MinAge


def _upstream(reader: Reader) -> UpstreamAddress | None:
    header = reader.get("PYOCI_UPSTREAM_AUTH", authorization_of, None)
    return reader.get("PYOCI_UPSTREAM_INDEX", lambda text: UpstreamAddress.parse(text, header), None)


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings:
    """The settings of upstream: its address, its files, the rules for them, and what never comes from it."""

    upstream: UpstreamAddress | None = combined(
        _upstream,
        Variable(
            names=("PYOCI_UPSTREAM_INDEX",),
            meaning="""\
The URL of another package index's simple API, for instance PyPI's. PyOCI asks it for projects that the
registry doesn't have. Empty turns this off. The URL may contain a user and a password;
``PYOCI_UPSTREAM_AUTH`` is the other way to set them.""",
        ),
        Variable(
            names=("PYOCI_UPSTREAM_AUTH",),
            meaning="""\
The credentials for upstream: ``user:password``, or a whole header, ``Basic …`` or ``Bearer …``. Everyone
with access to this server sees the pages that these credentials give access to. With
``PYOCI_UPSTREAM_FILES=proxy`` the same holds for files at upstream's own host; otherwise clients download
files directly from the URLs in upstream's pages, without these credentials.""",
        ),
        topic="PyPI behind it",
    )
    upstream_files: bool = setting(
        "PYOCI_UPSTREAM_FILES",
        direct_or_proxy,
        "direct",
        """\
How clients get the files of upstream's pages. With ``direct`` they download them from the URLs in those
pages. With ``proxy`` they download them from PyOCI, which fetches each file once, verifies its sha256, and
keeps it in ``PYOCI_UPSTREAM_FILES_DIR``. Files without a sha256, and files other than wheels and
sdists, keep their URLs.""",
    )
    upstream_files_dir: Path | None = optional(
        "PYOCI_UPSTREAM_FILES_DIR",
        directory,
        None,
        """\
The directory for upstream's files. ``PYOCI_UPSTREAM_FILES=proxy`` requires it. The workers of one machine
share it. It may be emptied at any time.""",
    )
    upstream_files_bytes: int = setting(
        "PYOCI_UPSTREAM_FILES_BYTES",
        number(1, 2**50),
        "10000000000",
        """\
How many bytes of upstream's files are kept. The least recently used files are removed first. Files that are
arriving are not counted. A larger file is passed on without being kept.""",
    )
    upstream_file_hosts: FileHosts = optional(
        "PYOCI_UPSTREAM_FILE_HOSTS",
        FileHosts.parse,
        FileHosts(),
        """\
With ``PYOCI_UPSTREAM_FILES=proxy``, files are fetched from the host of ``PYOCI_UPSTREAM_INDEX`` and from
public hosts by https. This is a list of further hosts, ``files.example:8443, http://10.0.0.5:8080``, which
may have private addresses or plain http. No credentials are sent to them. ``pyoci mirror`` and ``pyoci
import`` may fetch files from them as well.""",
    )
    upstream_rules: Path | None = optional(
        "PYOCI_UPSTREAM_RULES",
        existing_file,
        None,
        """\
A TOML file with rules for upstream's files: which are withheld from clients, and why. It is read again
when it changes; while it has a mistake, the former rules stay in force, and the log says so. Rules need
``PYOCI_UPSTREAM_FILES=proxy``, unless they only report. `PyPI's packages too <upstream.rst#rules>`_
describes them.""",
    )
    upstream_min_age: MinAge | None = optional(
        "PYOCI_UPSTREAM_MIN_AGE",
        MinAge.parse,
        None,
        """\
How long a file has to be at upstream before clients get it, by its upload time: ``12h``, ``7d``, ``2w``.
Newer files, and those without an upload time, are withheld. The file of ``PYOCI_UPSTREAM_RULES`` may name
another age, and exceptions.""",
    )
    osv_dump: Path | None = optional(
        "PYOCI_OSV_DUMP",
        directory,
        None,
        """\
A directory with entries of OSV's database, which works offline. Files of upstream that an entry reports
as malware (``MAL-*.json``, also in subdirectories) are withheld; other entries are ignored. It is read
again within a minute after it changes.""",
    )
    upstream_on_denied: bool = setting(
        "PYOCI_UPSTREAM_ON_DENIED",
        yes_or_no,
        "no",
        """\
With ``yes`` upstream is also asked when the registry doesn't reveal whether a project is missing or
forbidden. Most registries hide this from callers without credentials; Docker Hub hides it from everyone.
Set ``PYOCI_PRIVATE_PROJECTS`` first: a caller without access to a project of any other name then gets
upstream's project of that name. A wrong password is still answered with 401.""",
    )
    osv_url: str = optional(
        "PYOCI_OSV_URL",
        osv_url,
        "",
        """\
The URL of a service with OSV's API, ``https://api.osv.dev/`` for OSV itself. ``<index>/+osv/`` then relays
questions about vulnerabilities to it, as ``uv audit`` and pip-audit ask them. It asks only about projects
that the registry doesn't have, and never about those in ``PYOCI_PRIVATE_PROJECTS``. Empty turns this off.
`PyPI's packages too <upstream.rst#audits>`_ describes it.""",
    )
    private_projects: PrivateProjects = optional(
        "PYOCI_PRIVATE_PROJECTS",
        PrivateProjects.parse,
        PrivateProjects(),
        """\
Names and patterns, ``acme-*, secret-tool``: upstream is never asked for these projects, in any spelling.
Nobody can take over these names there, even before you publish them here.""",
    )
