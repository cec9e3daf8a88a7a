"""Settings of the server itself: the embedded registry, processes and threads, telemetry, the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyoci.config.environment import Reader, Variable, combined, optional, setting
from pyoci.config.values import (
    Export,
    LogLevels,
    certificates,
    cores,
    default_threads,
    default_workers,
    directory,
    htpasswd_file,
    number,
    yes_or_no,
)
from pyoci.config.values import proxies as read_proxies


def _workers(reader: Reader) -> int:
    return reader.get("WEB_CONCURRENCY", number(1, 1000), default_workers(cores()))


def _threads(reader: Reader) -> int:
    return reader.get("PYOCI_THREADS", number(1, 1000), default_threads(reader.value("workers")))


def _no_proxy(reader: Reader) -> str:
    return reader.environ.get("no_proxy") or reader.environ.get("NO_PROXY") or ""


def _ca_bundle(reader: Reader) -> str | None:
    fallback = reader.get("SSL_CERT_FILE", certificates, None)
    return reader.get("REQUESTS_CA_BUNDLE", certificates, fallback)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The settings of this machine's processes."""

    embedded: Path | None = optional(
        "PYOCI_EMBEDDED",
        directory,
        None,
        """\
A directory for the embedded registry, which is called ``local``; ``make serve`` and ``pyoci serve`` use
``./pyoci-data``. It speaks the OCI distribution API at ``/v2/``, so that ``skopeo`` and ``oras`` can talk
to it. It is for trying, and for one machine. ``pyoci gc`` removes what nothing has referred to for an
hour; so does every start. An unfinished upload at ``/v2/`` is removed an hour after its last bytes. There may
be 1,000 of them at a time (further ones get 429), of 64 GiB together (further bytes get 507).""",
        unset="off",
        topic="The embedded registry",
    )
    embedded_htpasswd: Path | None = optional(
        "PYOCI_EMBEDDED_HTPASSWD",
        htpasswd_file,
        None,
        """\
A file of users and bcrypt hashes (``htpasswd -B``) for the embedded registry. Without one it serves nobody
but this machine itself: no other peer, no reverse proxy, and no web page of another site.""",
    )
    port: int = setting(
        "PORT", number(1, 65535), "8080", "The port to listen on, for IPv6 and IPv4.", topic="The server"
    )
    workers: int = combined(
        _workers,
        Variable(
            names=("WEB_CONCURRENCY", "PYOCI_THREADS"),
            meaning="""\
Processes, and threads in each. A request takes a thread once it has come; so does an upload that arrives
fast, before all of it has come. No thread waits for a slow client. A request that finds no thread for ten
seconds gets a 503 with ``Retry-After``.""",
            unset="a process for each core that may be used, 2 to 8; 80 threads divided by them, at least 16",
        ),
    )
    threads: int = combined(
        _threads,
        Variable(
            names=("FORWARDED_ALLOW_IPS",),
            meaning="""\
The proxies whose ``X-Forwarded-Proto`` is believed: addresses, networks, or ``*`` for all.""",
            unset="this machine",
        ),
        Variable(
            names=("MALLOC_ARENA_MAX",),
            meaning="""\
How many heaps glibc makes for a worker's threads. One keeps memory small, and costs no time.""",
            default="1",
        ),
    )
    waiting_bodies: int = setting(
        "PYOCI_WAITING_BODIES",
        number(0, 2**63),
        "500000000",
        """\
How many bytes of uploads that arrive slowly may wait in ``TMPDIR``, for all processes together. Where that is
full, the slowest client is ended first. Uploads that arrive fast go to the registry as they come, and each
takes a temporary file of its own size besides.""",
    )
    log: LogLevels = combined(
        LogLevels.read,
        Variable(
            names=("PYOCI_LOG", "RUST_LOG"),
            meaning="""\
A level (debug, info, warning, error, off), or levels by package: ``pyoci.oci=debug,info``. ``RUST_LOG``
counts where ``PYOCI_LOG`` is not set; parts of it that mean nothing to PyOCI are ignored.""",
            default="info",
        ),
    )
    export: Export = combined(
        Export.read,
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
            meaning="""\
Where PyOCI runs, as reported to the collector. Azure's container apps set the last three.""",
        ),
        topic="Telemetry",
    )
    metrics: bool = setting(
        "PYOCI_METRICS",
        yes_or_no,
        "no",
        """\
With ``yes`` there is ``/metrics`` for Prometheus, of all workers together. It asks for no password: keep it
from the public in the proxy.""",
    )
    proxies: Mapping[str, str] = combined(
        read_proxies,
        Variable(
            names=("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
            meaning="""\
As everywhere, in capitals or not. With a proxy only listed registries may be asked.""",
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
A file with the certificates of those who may sign for registries; ``REQUESTS_CA_BUNDLE`` comes first. A
registry's certificate is always checked.""",
            unset="those that come with requests",
        ),
    )
