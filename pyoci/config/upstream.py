"""Settings of the package index that is asked for what the registry lacks: PyPI, as a rule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyoci.config.environment import Reader, Variable, combined, optional, setting
from pyoci.config.values import (
    comes_from_here,
    credentials_file,
    directory,
    existing_file,
    number,
    osv_url,
    yes_or_no,
)
from pyoci.distributions.names import PrivateProjects
from pyoci.oci.registries import Registries, ShortUrl, ShortUrls
from pyoci.upstream.address import FileHosts, UpstreamAddress, authorization_of
from pyoci.upstream.rules import MinAge


def _upstream(reader: Reader) -> UpstreamAddress | None:
    header = reader.get("PYOCI_UPSTREAM_AUTH", authorization_of, None)
    return reader.get("PYOCI_UPSTREAM_INDEX", lambda text: UpstreamAddress.parse(text, header), None)


def _store(reader: Reader) -> ShortUrl | None:
    """The namespace of the copies. No private name may be looked up there, by a short URL or an alias of an
    address.
    """
    registries: Registries = reader.value("registries")
    name = "PYOCI_UPSTREAM_STORE"
    is_wanted = reader.text("PYOCI_UPSTREAM_FILES") == "store"
    found = reader.get(name, lambda text: ShortUrl.parse(text, registries, trusted=True), None)
    if not is_wanted and reader.text(name):
        reader.mistakes.append(f"{name} is set without PYOCI_UPSTREAM_FILES=store; expected both")
    if is_wanted and not reader.text(name):
        reader.mistakes.append(f"PYOCI_UPSTREAM_FILES=store is set without {name}; expected both")
    if found is None:
        return None
    aliases = [segment for segment in found.path if segment in {"simple", "legacy", "pypi"}]
    if aliases:
        reader.mistakes.append(
            f"{name}: a namespace with /{aliases[0]} has addresses of the one above; expected another name,"
            " like ghcr.io/acme/upstream"
        )
    short_urls: ShortUrls = reader.value("short_urls")
    for short, meant in short_urls.urls.items():
        if meant.is_in(registries.trusted(found.registry), found.path, registries):
            reader.mistakes.append(
                f"{name}: the short URL /{short}/ leads to this namespace, where private projects would be"
                " looked up; expected a namespace of its own"
            )
    return found


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings:
    """The settings of upstream: its address, its files, the rules for them, and what never comes from it."""

    @property
    def rule_variables(self) -> tuple[str, ...]:
        """The variables that are set and make rules for upstream's files."""
        values = {
            "PYOCI_UPSTREAM_RULES": self.upstream_rules,
            "PYOCI_UPSTREAM_MIN_AGE": self.upstream_min_age,
            "PYOCI_OSV_DUMP": self.osv_dump,
        }
        return tuple(name for name, value in values.items() if value is not None)

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
with access to this server sees the pages that these credentials give access to. Unless
``PYOCI_UPSTREAM_FILES`` is ``direct``, the same holds for files at upstream's own host; otherwise clients
download files directly from the URLs in upstream's pages, without these credentials.""",
        ),
        topic="PyPI behind it",
    )
    upstream_files: bool = setting(
        "PYOCI_UPSTREAM_FILES",
        comes_from_here,
        "direct",
        """\
How clients get the files of upstream's pages. With ``direct`` they download them from the URLs in those
pages. With ``proxy`` they download them from PyOCI, which fetches each file once, verifies its sha256, and
keeps it in ``PYOCI_UPSTREAM_FILES_DIR``. With ``store`` each file that was downloaded is also stored for
good in ``PYOCI_UPSTREAM_STORE``. Files without a sha256, and files other than wheels and sdists, keep their
URLs.""",
    )
    upstream_store: ShortUrl | None = combined(
        _store,
        Variable(
            names=("PYOCI_UPSTREAM_STORE",),
            meaning="""\
A registry and a namespace, ``ghcr.io/acme/upstream``, for copies of upstream's files.
``PYOCI_UPSTREAM_FILES=store`` requires it. It has to be a namespace of its own: no short URL may lead there,
and PyOCI refuses uploads, yanks and deletes in it. The registry need not be in ``PYOCI_REGISTRIES``.""",
        ),
    )
    upstream_store_credentials: Path | None = optional(
        "PYOCI_UPSTREAM_STORE_CREDENTIALS",
        credentials_file,
        None,
        """\
A file with the credentials for the registry of ``PYOCI_UPSTREAM_STORE``: ``user:password`` on its first line.
They need the right to read and to write. The file is read again every minute. Without it, PyOCI uses the
login that ``docker login`` stored for the user who runs the server, if there is one.""",
    )
    upstream_offline: bool = setting(
        "PYOCI_UPSTREAM_OFFLINE",
        yes_or_no,
        "no",
        """\
With ``yes`` PyOCI never asks upstream. It serves the files of upstream in ``PYOCI_UPSTREAM_STORE`` and, if it
remembers their page, in ``PYOCI_UPSTREAM_FILES_DIR``. All other requests for upstream's projects get a 404.
It requires ``PYOCI_UPSTREAM_FILES`` to be ``proxy`` or ``store``.""",
    )
    upstream_files_dir: Path | None = optional(
        "PYOCI_UPSTREAM_FILES_DIR",
        directory,
        None,
        """\
The directory for upstream's files. ``PYOCI_UPSTREAM_FILES`` requires it, unless it is ``direct``. The
workers of one machine share it. It may be emptied at any time.""",
    )
    upstream_files_bytes: int = setting(
        "PYOCI_UPSTREAM_FILES_BYTES",
        number(1, 2**50),
        "10000000000",
        """\
How many bytes of upstream's files are kept. The least recently used files are removed first. Files that are
arriving are not counted. Each process may exceed the limit by a 32nd of it for a while. A larger file is
passed on without being kept.""",
    )
    upstream_file_hosts: FileHosts = optional(
        "PYOCI_UPSTREAM_FILE_HOSTS",
        FileHosts.parse,
        FileHosts(),
        """\
Unless ``PYOCI_UPSTREAM_FILES`` is ``direct``, files are fetched from the host of
``PYOCI_UPSTREAM_INDEX`` and from public hosts by https. This is a list of further hosts,
``files.example:8443, http://10.0.0.5:8080``, which may have private addresses or plain http. No
credentials are sent to them. ``pyoci mirror`` and ``pyoci import`` may fetch files from them as well.""",
    )
    upstream_rules: Path | None = optional(
        "PYOCI_UPSTREAM_RULES",
        existing_file,
        None,
        """\
A TOML file with rules for upstream's files: which are withheld from clients, and why. It is read again
when it changes. While it has a mistake, the former rules stay in force, and the log has an error. Rules need
``PYOCI_UPSTREAM_FILES`` to be ``proxy`` or ``store``, unless they only report.
`PyPI's packages too <upstream.rst#rules>`_ describes them.""",
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
