"""Settings of package indexes: their addresses, the registries and the other index behind them, the cache."""

from __future__ import annotations

from dataclasses import dataclass

from pyoci.cache.address import CacheAddress
from pyoci.config.environment import Reader, Variable, combined, optional, setting
from pyoci.config.values import number, prefix, secret, username, yes_or_no
from pyoci.distributions.private import PrivateProjects
from pyoci.oci.registries import DEFAULT, RESERVED, Registries, ShortUrl, ShortUrls
from pyoci.upstream.address import UpstreamAddress, authorization_of


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
            "PYOCI_ONLY_INDEXES: nothing would be served; expected PYOCI_DEFAULT_INDEX or PYOCI_INDEXES"
        )
    return ShortUrls(urls, alone)


def _upstream(reader: Reader) -> UpstreamAddress | None:
    header = reader.get("PYOCI_UPSTREAM_AUTH", authorization_of, None)
    return reader.get("PYOCI_UPSTREAM_INDEX", lambda text: UpstreamAddress.parse(text, header), None)


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
        "The largest upload in bytes. More is answered with 413.",
    )
    max_versions: int = setting(
        "PYOCI_MAX_VERSIONS",
        number(0, 1_000_000),
        "1000",
        "How many versions a page shows; the newest ones count. 0 shows all.",
    )
    bearer_username: str | None = optional(
        "PYOCI_BEARER_USERNAME", username, None, "The user whose password is passed on as a Bearer token."
    )
    short_urls: ShortUrls = combined(
        _short_urls,
        Variable(
            names=("PYOCI_DEFAULT_INDEX",),
            meaning="""\
A registry and a namespace, ``ghcr.io/acme``: that package index is also served where clients look for
PyPI's, at ``/simple/`` (and ``/pypi/<project>/json``), and takes uploads at ``/simple/`` and
``/legacy/``. The registry may be an alias or a URL, and has to be one that may be asked.""",
        ),
        Variable(
            names=("PYOCI_INDEXES",),
            meaning="""\
Others by name: at ``/team/`` and ``/lab/`` with ``team=ghcr.io/acme/python, lab=local/lab``.""",
        ),
        Variable(
            names=("PYOCI_ONLY_INDEXES",),
            meaning="With ``yes`` nothing but those is served: no other registry, and no ``/v2/``.",
            default="no",
        ),
    )
    upstream: UpstreamAddress | None = combined(
        _upstream,
        Variable(
            names=("PYOCI_UPSTREAM_INDEX",),
            meaning="""\
The URL of another package index's simple API, PyPI's for instance, that is asked for projects that the
registry doesn't have. Off when empty. A user and a password may stand in it, or in
``PYOCI_UPSTREAM_AUTH``.""",
        ),
        Variable(
            names=("PYOCI_UPSTREAM_AUTH",),
            meaning="""\
The credentials for it: ``user:password``, or a whole header, ``Basic …`` or ``Bearer …``. Whoever may ask
here sees the pages that they open. Files come from where upstream says, without these credentials.""",
        ),
        topic="PyPI behind it",
    )
    upstream_on_denied: bool = setting(
        "PYOCI_UPSTREAM_ON_DENIED",
        yes_or_no,
        "no",
        """\
With ``yes`` it is also asked where the registry doesn't tell whether a project is absent or forbidden: to
callers without credentials at most registries, and to everybody at Docker Hub. Set
``PYOCI_PRIVATE_PROJECTS`` first: any other name may then come from PyPI for whoever may not read it here.
A wrong password is still a 401.""",
    )
    private_projects: PrivateProjects = optional(
        "PYOCI_PRIVATE_PROJECTS",
        PrivateProjects.parse,
        PrivateProjects(),
        """\
Names and patterns, ``acme-*, secret-tool``: projects that it is never asked for, in any spelling. They
can't be taken over there, even before you publish them here.""",
    )
    registries: Registries = combined(
        _registries,
        Variable(
            names=("PYOCI_REGISTRIES",),
            meaning="""\
Which registries may be asked: a list of hosts, patterns, URLs and aliases, as in
``ghcr=ghcr.io, *.azurecr.io, http://127.0.0.1:5000, lab=http://10.0.0.5:5000``. Empty, or with ``*`` in it:
any registry that is served by https, at port 443 of a public address. Plain http, other ports and private
addresses need to be listed, always; so does every registry when a proxy is set, since the proxy looks up the
names. An alias stands in the URL for its registry: ``/lab/acme/``.""",
        ),
        topic="Registries",
    )
    host_connections: int = setting(
        "PYOCI_HOST_CONNECTIONS",
        number(1, 1000),
        "16",
        "How many documents one process reads from one registry at a time.",
    )
    redirect: bool = setting(
        "PYOCI_REDIRECT",
        yes_or_no,
        "no",
        """\
Some registries answer downloads with a redirect to their storage. By default PyOCI follows it, verifies the
bytes and passes them on: every client works, can cache files and read parts of them, and the traffic is
PyOCI's. With ``yes`` a plain download is answered with that redirect (307), and costs PyOCI nothing; but pip
and pdm then download such files anew each time, PyOCI verifies nothing, and clients have to reach the
storage. Parts of files and metadata still come from here, and so does everything whose redirect leads from
https to http, or to the host name of PyOCI itself.""",
    )
    cache: CacheAddress = setting(
        "PYOCI_CACHE_URL",
        CacheAddress.parse,
        "file://",
        """\
Where what the registry said is remembered: ``file:///directory`` for the workers of one machine, ``file://``
for a directory of the server's own that goes with it, ``redis://host:port/number`` or ``rediss://…`` for
several hosts, ``memory://`` for a single worker (``WEB_CONCURRENCY=1``). Losing it costs time and nothing
else; while Redis is away every page is asked for anew. No credential is ever in it, but whoever can read it
reads what private packages are called and need.""",
        topic="What is remembered",
    )
    cache_key: str = optional(
        "PYOCI_CACHE_KEY",
        secret,
        "",
        """\
A secret of at least 32 characters, the same for all servers that share a Redis: each signs what it
remembers there, and takes nothing that was written without it. Where none is set, whoever can write to that
Redis decides what clients install.""",
        secret=True,
    )
    cache_ttl: int = setting(
        "PYOCI_CACHE_TTL",
        number(0, 86400),
        "60",
        """\
For how many seconds a project's tags count, what stands under them, that a caller may read them, and the
token that the registry issued to that caller: access that is revoked ends within that time. A page
then costs the registry nothing, and one request for a caller whom it has not let in within that time. What is
published, yanked or deleted through this server, or one that shares its cache, shows at once; what others
change shows within twice that time, or when a client sends ``Cache-Control: no-cache`` (``uv --refresh``).
0 asks each time.""",
    )
    cache_ttl_old: int = setting(
        "PYOCI_CACHE_TTL_OLD",
        number(0, 31_536_000),
        "3600",
        """\
The same for versions that nobody has changed for a day: a file that somebody adds to one of them past this
server shows after so many seconds.""",
    )
