"""Settings of the server itself: the embedded registry, processes and threads, telemetry, the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyoci.config import values
from pyoci.config.environment import Reader, Variable, combined, optional, setting


def _workers(reader: Reader) -> int:
    return reader.get("WEB_CONCURRENCY", values.number(1, 1000), values.default_workers(values.cores()))


def _threads(reader: Reader) -> int:
    return reader.get(
        "PYOCI_THREADS", values.number(1, 1000), values.default_threads(reader.value("workers"))
    )


def _no_proxy(reader: Reader) -> str:
    return reader.environ.get("no_proxy") or reader.environ.get("NO_PROXY") or ""


def _ca_bundle(reader: Reader) -> str | None:
    fallback = reader.get("SSL_CERT_FILE", values.certificates, None)
    return reader.get("REQUESTS_CA_BUNDLE", values.certificates, fallback)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The settings of this machine's processes."""

    embedded: Path | None = optional(
        "PYOCI_EMBEDDED",
        values.directory,
        None,
        """\
A directory for the embedded registry, which is called ``local``; ``make serve`` and ``pyoci serve`` use
``./pyoci-data``. The registry serves the OCI distribution API at ``/v2/``, for ``skopeo`` and ``oras``. It
is meant for evaluation and for single machines. ``pyoci gc`` and every start remove data that has been
unreferenced for an hour. An unfinished upload at ``/v2/`` is removed an hour after its last bytes. The
registry accepts 1,000 unfinished uploads at a time (further ones get 429), of 64 GiB together (further
bytes get 507).""",
        unset="off",
        topic="The embedded registry",
    )
    embedded_htpasswd: Path | None = optional(
        "PYOCI_EMBEDDED_HTPASSWD",
        values.htpasswd_file,
        None,
        """\
A file of users and bcrypt hashes (``htpasswd -B``) for the embedded registry. Without one, the registry
serves only clients on this machine: no other hosts, no reverse proxy, and no web page of another site.""",
    )
    port: int = setting(
        "PORT",
        values.number(1, 65535),
        "8080",
        "The port to listen on, for IPv6 and IPv4.",
        topic="The server",
    )
    workers: int = combined(
        _workers,
        Variable(
            names=("WEB_CONCURRENCY", "PYOCI_THREADS"),
            meaning="""\
The number of processes, and of threads in each. A request occupies a thread once it has arrived; an upload
that arrives fast does so before it is complete. No thread waits for a slow client. A request that gets no
thread within ten seconds is answered with 503 and ``Retry-After``.""",
            unset="one process per core, 2 to 8; 80 threads divided by the number of processes, at least 16",
        ),
    )
    threads: int = combined(
        _threads,
        Variable(
            names=("FORWARDED_ALLOW_IPS",),
            meaning="""\
The proxies whose ``X-Forwarded-Proto`` is trusted: addresses, networks, or ``*`` for all.""",
            unset="this machine",
        ),
        Variable(
            names=("MALLOC_ARENA_MAX",),
            meaning="""\
How many heaps glibc creates for a worker's threads. One heap uses the least memory and is as fast as
several.""",
            default="1",
        ),
    )
    waiting_bodies: int = setting(
        "PYOCI_WAITING_BODIES",
        values.number(0, 2**63),
        "500000000",
        """\
The limit in bytes of all slow uploads that are buffered in ``TMPDIR``, for all processes together. At the
limit the slowest client is disconnected first. Fast uploads are sent to the registry while they arrive,
and each also takes a temporary file of its own size.""",
    )
    log: values.LogLevels = combined(
        values.LogLevels.read,
        Variable(
            names=("PYOCI_LOG", "RUST_LOG"),
            meaning="""\
A level (debug, info, warning, error, off), or levels by package: ``pyoci.oci=debug,info``. ``RUST_LOG`` is
used if ``PYOCI_LOG`` is not set; the parts of it that PyOCI doesn't know are ignored.""",
            default="info",
        ),
    )
    log_user: bool = setting(
        "PYOCI_LOG_USER",
        values.yes_or_no,
        "yes",
        """\
With ``no`` the log has no user names of Basic credentials. It never has passwords and tokens.""",
    )
    record_publisher: bool = setting(
        "PYOCI_RECORD_PUBLISHER",
        values.yes_or_no,
        "no",
        """\
With ``yes`` each published file has the user name of the Basic credentials in an annotation, and the JSON
page shows it (``_publisher``). Everybody who may read the project can read it.""",
    )
    export: values.Export = combined(
        values.Export.read,
        Variable(
            names=("OTLP_ENDPOINT", "OTLP_AUTH"),
            meaning="""\
The base URL of a collector that receives logs, traces and metrics by OTLP over HTTP, and the whole value
of the ``Authorization`` header for it. OpenTelemetry's own variables (``OTEL_…``) work as well.""",
            unset="nothing is sent",
        ),
        Variable(
            names=(
                "DEPLOYMENT_ENVIRONMENT",
                "CONTAINER_APP_NAME",
                "CONTAINER_APP_REVISION",
                "CONTAINER_APP_REPLICA_NAME",
            ),
            meaning="""\
Where PyOCI runs, as reported to the collector. Azure's container apps set the last three.""",
        ),
        topic="Telemetry",
    )
    metrics: bool = setting(
        "PYOCI_METRICS",
        values.yes_or_no,
        "no",
        """\
With ``yes`` the metrics of all workers are served at ``/metrics`` for Prometheus. No password is required:
block this path for the public in the proxy.""",
    )
    proxies: Mapping[str, str] = combined(
        values.proxies,
        Variable(
            names=("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
            meaning="""\
The usual proxy variables, in upper or lower case. With a proxy, only listed registries are allowed.""",
        ),
        secret=True,
        topic="The network",
    )
    no_proxy: str = combined(_no_proxy)
    ca_bundle: str | None = combined(
        _ca_bundle,
        Variable(
            names=("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
            meaning="""\
A file with the certificates of the certificate authorities to trust; ``REQUESTS_CA_BUNDLE`` takes
precedence. A registry's certificate is always verified.""",
            unset="the certificates that come with requests",
        ),
    )
