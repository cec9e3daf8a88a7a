"""What each variable of the environment means, for operators: docs/settings.rst is made of this."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """`meaning` is reStructuredText. `default` is a value that sets what holds without the variable; where no
    single value does, `unset` says in words what holds.
    """

    names: tuple[str, ...]
    meaning: str
    default: str = ""
    unset: str = ""


@dataclass(frozen=True, slots=True)
class Topic:
    """Variables that an operator thinks of together."""

    title: str
    variables: tuple[Variable, ...]


def _one(name: str, meaning: str, *, default: str = "", unset: str = "") -> Variable:
    return Variable(names=(name,), meaning=meaning, default=default, unset=unset)


_INDEXES = Topic(
    "Package indexes",
    (
        _one("PYOCI_PATH", "A path below which package indexes are served, ``/packages`` for example."),
        _one(
            "PYOCI_MAX_BODY",
            "The largest upload in bytes. More is answered with 413.",
            default="50000000",
        ),
        _one(
            "PYOCI_MAX_VERSIONS",
            "How many versions a page shows; the newest ones count. 0 shows all.",
            default="1000",
        ),
        _one("PYOCI_BEARER_USERNAME", "The user whose password is passed on as a Bearer token."),
        _one(
            "PYOCI_DEFAULT_INDEX",
            """\
A registry and a namespace, ``ghcr.io/acme``: that package index is also served where clients look for
PyPI's, at ``/simple/`` (and ``/pypi/<project>/json``), and takes uploads at ``/simple/`` and
``/legacy/``. The registry may be an alias or a URL, and has to be one that may be asked.""",
        ),
        _one(
            "PYOCI_INDEXES",
            "Others by name: at ``/team/`` and ``/lab/`` with ``team=ghcr.io/acme/python, lab=local/lab``.",
        ),
        _one(
            "PYOCI_ONLY_INDEXES",
            "With ``yes`` nothing but those is served: no other registry, and no ``/v2/``.",
            default="no",
        ),
    ),
)

_UPSTREAM = Topic(
    "PyPI behind it",
    (
        _one(
            "PYOCI_UPSTREAM_INDEX",
            """\
The URL of another package index's simple API, PyPI's for instance, that is asked for projects that the
registry doesn't have. Off when empty. A user and a password may stand in it, or in
``PYOCI_UPSTREAM_AUTH``.""",
        ),
        _one(
            "PYOCI_UPSTREAM_AUTH",
            """\
The credentials for it: ``user:password``, or a whole header, ``Basic …`` or ``Bearer …``. Whoever may ask
here sees the pages that they open. Files come from where upstream says, without these credentials.""",
        ),
        _one(
            "PYOCI_UPSTREAM_ON_DENIED",
            """\
With ``yes`` it is also asked where the registry doesn't tell whether a project is absent or forbidden: to
callers without credentials at most registries, and to everybody at Docker Hub. Set
``PYOCI_PRIVATE_PROJECTS`` first: any other name may then come from PyPI for whoever may not read it here.
A wrong password is told all the same.""",
            default="no",
        ),
        _one(
            "PYOCI_PRIVATE_PROJECTS",
            """\
Names and patterns, ``acme-*, secret-tool``: projects that it is never asked for, in any spelling. They
can't be taken over there, even before you publish them here.""",
        ),
    ),
)

_REGISTRIES = Topic(
    "Registries",
    (
        _one(
            "PYOCI_REGISTRIES",
            """\
Which registries may be asked: a list of hosts, patterns, URLs and aliases, as in
``ghcr=ghcr.io, *.azurecr.io, http://127.0.0.1:5000, lab=http://10.0.0.5:5000``. Empty, or with ``*`` in it:
any registry that is served by https, at port 443 of a public address. Plain http, other ports and private
addresses need to be listed, always; so does every registry when a proxy is set, since the proxy looks up the
names. An alias stands in the URL for its registry: ``/lab/acme/``.""",
        ),
        _one(
            "PYOCI_HOST_CONNECTIONS",
            "How many documents one process reads from one registry at a time.",
            default="16",
        ),
        _one(
            "PYOCI_REDIRECT",
            """\
Some registries answer downloads with a redirect to their storage. By default PyOCI follows it, verifies the
bytes and passes them on: every client works, can cache files and read parts of them, and the traffic is
PyOCI's. With ``yes`` a plain download is answered with that redirect (307), and costs PyOCI nothing; but pip
and pdm then download such files anew each time, PyOCI verifies nothing, and clients have to reach the
storage. Parts of files and metadata still come from here, and so does everything whose redirect leads from
https to http, or to the host name of PyOCI itself.""",
            default="no",
        ),
    ),
)

_CACHE = Topic(
    "What is remembered",
    (
        _one(
            "PYOCI_CACHE_URL",
            """\
Where what the registry said is remembered: ``file:///directory`` for the workers of one machine, ``file://``
for a directory of the server's own that goes with it, ``redis://host:port/number`` or ``rediss://…`` for
several hosts, ``memory://`` for a single worker (``WEB_CONCURRENCY=1``). Losing it costs time and nothing
else; while Redis is away every page is asked for anew. No credential is ever in it, but whoever can read it
reads what private packages are called and need.""",
            default="file://",
        ),
        _one(
            "PYOCI_CACHE_KEY",
            """\
A secret of at least 32 characters, the same for all servers that share a Redis: each signs what it
remembers there, and takes nothing that was written without it. Where none is set, whoever can write to that
Redis decides what clients install.""",
        ),
        _one(
            "PYOCI_CACHE_TTL",
            """\
For how many seconds a project's tags count, what stands under them, that a caller may read them, and the
token that the registry issued to that caller: access that is revoked ends within that time. A page
then costs the registry nothing, and one request for a caller whom it has not let in within that time. What is
published, yanked or deleted through this server, or one that shares its cache, shows at once; what others
change shows within twice that time, or when a client sends ``Cache-Control: no-cache`` (``uv --refresh``).
0 asks each time.""",
            default="60",
        ),
        _one(
            "PYOCI_CACHE_TTL_OLD",
            """\
The same for versions that nobody has changed for a day: a file that somebody adds to one of them past this
server shows after so many seconds.""",
            default="3600",
        ),
    ),
)

_EMBEDDED = Topic(
    "The embedded registry",
    (
        _one(
            "PYOCI_EMBEDDED",
            """\
A directory for the embedded registry, which is called ``local``; ``make serve`` and ``pyoci serve`` use
``./pyoci-data``. It speaks the OCI distribution API at ``/v2/``, so that ``skopeo`` and ``oras`` can talk
to it. It is for trying, and for one machine. ``pyoci gc`` removes what nothing has referred to for an
hour; so does every start. An unfinished upload at ``/v2/`` is removed an hour after its last bytes. There may
be 1,000 of them at a time (further ones get 429), of 64 GiB together (further bytes get 507).""",
            unset="off",
        ),
        _one(
            "PYOCI_EMBEDDED_HTPASSWD",
            """\
A file of users and bcrypt hashes (``htpasswd -B``) for the embedded registry. Without one it serves nobody
but this machine itself: no other peer, no reverse proxy, and no web page of another site.""",
        ),
    ),
)

_SERVER = Topic(
    "The server",
    (
        _one("PORT", "The port to listen on, for IPv6 and IPv4.", default="8080"),
        Variable(
            names=("WEB_CONCURRENCY", "PYOCI_THREADS"),
            meaning="""\
Processes, and threads in each. A request takes a thread once its head has come; every transfer that is going
on takes one, for as long as bytes move. Who finds none waits ten seconds, and gets a 503 with ``Retry-After``
then.""",
            unset="a process for each core that may be used, 2 to 8; 80 threads divided by them, at least 16",
        ),
        _one(
            "FORWARDED_ALLOW_IPS",
            "The proxies whose ``X-Forwarded-Proto`` is believed: addresses, networks, or ``*`` for all.",
            unset="this machine",
        ),
        _one(
            "MALLOC_ARENA_MAX",
            "How many heaps glibc makes for a worker's threads. One keeps memory small, and costs no time.",
            default="1",
        ),
        Variable(
            names=("PYOCI_LOG", "RUST_LOG"),
            meaning="""\
A level (debug, info, warning, error, off), or levels by room: ``pyoci.oci=debug,info``. ``RUST_LOG`` counts
where ``PYOCI_LOG`` is not set; what of it has no meaning here is ignored.""",
            default="info",
        ),
    ),
)

_TELEMETRY = Topic(
    "Telemetry",
    (
        Variable(
            names=("OTLP_ENDPOINT", "OTLP_AUTH"),
            meaning="""\
The base URL of a collector that logs, traces and metrics are sent to by OTLP over HTTP, and all of the
``Authorization`` header that it wants. OpenTelemetry's own variables (``OTEL_…``) count as well.""",
            unset="nothing is sent",
        ),
        Variable(
            names=(
                "DEPLOYMENT_ENVIRONMENT",
                "CONTAINER_APP_NAME",
                "CONTAINER_APP_REVISION",
                "CONTAINER_APP_REPLICA_NAME",
            ),
            meaning="Where PyOCI runs, as a collector is told. Azure's container apps set the last three.",
        ),
        _one(
            "PYOCI_METRICS",
            """\
With ``yes`` there is ``/metrics`` for Prometheus, of all workers together. It asks for no password: keep it
from the public in the proxy.""",
            default="no",
        ),
    ),
)

_NETWORK = Topic(
    "The network",
    (
        Variable(
            names=("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
            meaning="As everywhere, in capitals or not. With a proxy only listed registries may be asked.",
        ),
        Variable(
            names=("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
            meaning="""\
A file with the certificates of those who may sign for registries; ``REQUESTS_CA_BUNDLE`` comes first. A
registry's certificate is always checked.""",
            unset="those that come with requests",
        ),
    ),
)

TOPICS = (_INDEXES, _UPSTREAM, _REGISTRIES, _CACHE, _EMBEDDED, _SERVER, _TELEMETRY, _NETWORK)
