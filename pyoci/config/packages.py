"""Settings of package indexes: their addresses, their registries, the upstream index, and the cache."""

from __future__ import annotations

from dataclasses import dataclass

from pyoci.cache.address import CacheAddress
from pyoci.config.environment import Reader, Variable, combined, optional, setting
from pyoci.config.values import (
    number,
    prefix,
    repository_segment,
    secret,
    username,
    yes_or_no,
)
from pyoci.oci.registries import DEFAULT, RESERVED, Registries, ShortUrl, ShortUrls


def _short_urls(reader: Reader) -> ShortUrls:
    registries: Registries = reader.value("registries")
    mistakes = len(reader.mistakes)
    default = reader.get("PYOCI_DEFAULT_INDEX", lambda text: ShortUrl.parse(text, registries), None)
    named = reader.get(
        "PYOCI_INDEXES", lambda text: ShortUrls.read(text, registries, reserved=RESERVED), ShortUrls()
    )
    urls = {**({DEFAULT: default} if default else {}), **named.urls}
    alone = reader.get("PYOCI_ONLY_INDEXES", yes_or_no, False)
    if alone and not urls and len(reader.mistakes) == mistakes:
        reader.mistakes.append(
            "PYOCI_ONLY_INDEXES alone would serve nothing; expected PYOCI_DEFAULT_INDEX or PYOCI_INDEXES"
        )
    return ShortUrls(urls, alone)


def _registries(reader: Reader) -> Registries:
    embedded = reader.value("embedded") is not None
    return reader.get(
        "PYOCI_REGISTRIES",
        lambda text: Registries.read(text, reserved=RESERVED, embedded=embedded),
        Registries(embedded=embedded),
    )


@dataclass(frozen=True, kw_only=True)
class PackageSettings:
    """The settings that decide what clients of package indexes see."""

    path: str = optional(
        "PYOCI_PATH",
        prefix,
        "",
        "A path below which package indexes are served, ``/packages`` for example.",
        topic="Package indexes",
    )
    max_body: int = setting(
        "PYOCI_MAX_BODY",
        number(1, 2**63),
        "50000000",
        "The largest upload in bytes. Larger uploads are answered with 413.",
    )
    max_versions: int = setting(
        "PYOCI_MAX_VERSIONS",
        number(0, 1_000_000),
        "1000",
        "How many versions a page shows; the newest ones count. 0 shows all.",
    )
    bearer_username: str | None = optional(
        "PYOCI_BEARER_USERNAME", username, None, "The user name whose password is sent as a Bearer token."
    )
    short_urls: ShortUrls = combined(
        _short_urls,
        Variable(
            names=("PYOCI_DEFAULT_INDEX",),
            meaning="""\
A registry and a namespace, ``ghcr.io/acme``. Their package index is also served at the paths that PyPI
uses: ``/simple/`` and ``/pypi/<project>/json``. It accepts uploads at ``/simple/`` and ``/legacy/``. The
registry may be an alias or a URL, and must be one that ``PYOCI_REGISTRIES`` allows.""",
        ),
        Variable(
            names=("PYOCI_INDEXES",),
            meaning="""\
Further package indexes at short paths: ``team=ghcr.io/acme/python, lab=local/lab`` serves two of them at
``/team/`` and ``/lab/``.""",
        ),
        Variable(
            names=("PYOCI_ONLY_INDEXES",),
            meaning="With ``yes`` only these package indexes are served: no other registry, and no ``/v2/``.",
            default="no",
        ),
    )
    registries: Registries = combined(
        _registries,
        Variable(
            names=("PYOCI_REGISTRIES",),
            meaning="""\
The registries that are allowed: a list of hosts, patterns, URLs and aliases, as in ``ghcr=ghcr.io,
*.azurecr.io, http://127.0.0.1:5000, lab=http://10.0.0.5:5000``. An empty list, or one with ``*``, allows
any registry that is served by https at port 443 of a public address. Registries with plain http, other
ports or private addresses must always be listed. With a proxy, every registry must be listed, since the
proxy resolves the names. URLs use an alias in place of its registry: ``/lab/acme/``.""",
        ),
        topic="Registries",
    )
    catalog: str = optional(
        "PYOCI_CATALOG",
        repository_segment,
        "",
        """\
The name of a catalogue repository below each namespace, ``pyoci.catalog`` for example. A publish writes the
project's name, summary and newest version there, so that registries without a list of repositories (ghcr.io,
Docker Hub, Amazon ECR) have a list of projects. Everybody who may read this repository learns the names of
all projects in its namespace. Callers who may not write to it can still publish. No project may have
this name. ``pyoci check --repair`` adds the projects that already exist. Empty turns this off.""",
    )
    host_connections: int = setting(
        "PYOCI_HOST_CONNECTIONS",
        number(1, 1000),
        "16",
        "How many documents one process reads from one registry concurrently.",
    )
    redirect: bool = setting(
        "PYOCI_REDIRECT",
        yes_or_no,
        "no",
        """\
Some registries answer downloads with a redirect to their storage. By default PyOCI follows it, verifies
the bytes and passes them on. Every client works with that, and can cache files and read parts of them; the
traffic goes through PyOCI. With ``yes`` PyOCI passes on the redirect (307) for a download of a whole file,
which takes no bandwidth of PyOCI. The disadvantages: pip and pdm then download such files again each time,
PyOCI doesn't verify them, and clients need access to the storage. PyOCI still serves metadata and parts of
files itself, and every file whose redirect leads from https to http or to the host name of PyOCI.""",
    )
    cache: CacheAddress = setting(
        "PYOCI_CACHE_URL",
        CacheAddress.parse,
        "file://",
        """\
The cache of the registry's answers: ``file:///directory`` for the workers of one machine, ``file://`` for
a temporary directory that is removed with the server, ``redis://host:port/number`` or ``rediss://…`` for
several hosts, ``memory://`` for a single worker (``WEB_CONCURRENCY=1``). Losing the cache only costs time;
while Redis is unreachable, the registry is asked for every page. The cache contains no credentials, but it
does contain the names and dependencies of private packages.""",
        topic="What is remembered",
    )
    cache_key: str = optional(
        "PYOCI_CACHE_KEY",
        secret,
        "",
        """\
A secret of at least 32 characters, the same for all servers that share a Redis. Each server signs its
cache entries with it, and ignores entries without a valid signature. Without a key, anyone with write
access to that Redis can decide what clients install.""",
        secret=True,
    )
    cache_ttl: int = setting(
        "PYOCI_CACHE_TTL",
        number(0, 86400),
        "60",
        """\
How many seconds to cache a project's tags and their contents, a caller's right to read them, and the token
that the registry issued to that caller. Access that is revoked therefore ends within that time. A cached
page takes no request to the registry, or one request if the registry hasn't authorized the caller within
that time. Files that are published, yanked or deleted through this server, or one that shares its cache,
are visible at once. Other changes are visible within twice that time, or when a client sends
``Cache-Control: no-cache`` (``uv --refresh``). 0 asks the registry each time.""",
    )
    cache_ttl_old: int = setting(
        "PYOCI_CACHE_TTL_OLD",
        number(0, 31_536_000),
        "3600",
        """\
The same for versions that have not changed for a day. A file that is added to such a version without this
server is visible after this many seconds.""",
    )
