"""gunicorn's configuration (`gunicorn -c python:pyoci.server`), and the application for servers that are
started without a checkout.
"""

from __future__ import annotations

import ipaddress
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyoci.app import WORKER, ForWorker, Lend, create_app
from pyoci.config import Settings, WrongSettings
from pyoci.copies import FindLogin
from pyoci.embedded import gc, remove_expired_uploads
from pyoci.heap import collect_rarely, freeze, use_one_heap
from pyoci.telemetry.listening import TELEMETRY, Telemetry
from pyoci.telemetry.logs import Log
from pyoci.worker.served import Served

if TYPE_CHECKING:
    from flask import Flask

# The names that gunicorn reads. It takes every lower-case name that is one of its settings, and ignores
# others.
__all__ = [
    "bind",
    "child_exit",
    "control_socket_disable",
    "forwarded_allow_ips",
    "forwarder_headers",
    "graceful_timeout",
    "keepalive",
    "limit_request_field_size",
    "limit_request_fields",
    "limit_request_line",
    "max_requests",
    "max_requests_jitter",
    "on_starting",
    "post_fork",
    "post_worker_init",
    "pre_exec",
    "pre_fork",
    "preload_app",
    "proc_name",
    "threads",
    "timeout",
    "worker_class",
    "worker_connections",
    "worker_exit",
    "worker_tmp_dir",
    "workers",
]


_CLEAN_UP_EVERY = 600.0  # seconds
_LOGIN_SECONDS = 30.0  # that a credential helper may take


def _settings() -> Settings:
    try:
        return Settings.from_environ(os.environ)
    except WrongSettings as exc:
        sys.exit(str(exc))


def _addresses(port: int, bindv6only: Path = Path("/proc/sys/net/ipv6/bindv6only")) -> list[str]:
    """[::] accepts IPv4 as well, unless the system is configured otherwise or has no IPv6."""
    if not socket.has_dualstack_ipv6():
        return [f"0.0.0.0:{port}"]
    apart = bindv6only.exists() and bindv6only.read_text().strip() == "1"
    return [f"[::]:{port}", f"0.0.0.0:{port}"] if apart else [f"[::]:{port}"]


def _with_mapped(proxies: str) -> str:
    """The list, with each IPv4 address also as an IPv6 socket reports it, since gunicorn compares strings.

    Entries that are not addresses stay as they are; gunicorn reports them.
    """
    mapped = []
    for proxy in proxies.split(","):
        with suppress(ValueError):
            network = ipaddress.ip_network(proxy.strip(), strict=False)
            if network.version == 4:
                mapped.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return ",".join([proxies, *mapped] if proxies.strip() else [])


def _raised_limit() -> int:
    """Raise this process's limit of open descriptors to the hard limit, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # the system refuses some hard limits
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return 2**20 if soft == resource.RLIM_INFINITY else soft


settings = _settings()

bind = _addresses(settings.port)
proc_name = "pyoci"
# Proxies whose X-Forwarded-Proto is trusted: by default, those on this machine.
forwarded_allow_ips = _with_mapped(os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1"))
# gunicorn lets a header set SCRIPT_NAME by default. PYOCI_PATH alone sets the path below which PyOCI is
# served.
forwarder_headers = ""
worker_class = "pyoci.worker.Worker"
workers = settings.workers
threads = settings.threads
preload_app = True
# Seconds without a worker's heartbeat. The heartbeat doesn't depend on requests, so an upload may take
# longer.
timeout = 30
graceful_timeout = 30
keepalive = 75
# A connection takes up to three descriptors: its socket, one to the registry, and an upload's temporary file.
worker_connections = min(1000, _raised_limit() // 3)
# Workers are replaced after so many requests, since memory fragments; the jitter spreads the replacements.
max_requests = 100_000
max_requests_jitter = 50_000
# Bytes. A long Authorization has a cloud's key file or token as the password.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16380
control_socket_disable = True
# gunicorn touches a file here every second. If a disk made that hang, gunicorn would kill the worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  # memory


def on_starting(arbiter: Any) -> None:
    """Warn an operator who has gunicorn itself do TLS: its threads then wait for clients."""
    if arbiter.cfg.is_ssl:
        log = Log(settings.log.default, settings.log.rooms)
        log.write(
            "a few slow clients can stop a server that does TLS itself",
            room="server",
            level="warning",
            expected="TLS in a proxy in front, and no certfile",
        )


def pre_fork(_arbiter: Any, _worker: Any) -> None:
    """Keep what is loaded before the fork in memory that the workers share."""
    freeze()


def post_fork(arbiter: Any, _worker: Any) -> None:
    """Exit if the worker has been told to stop already, use one heap for all of its threads, and let them
    take turns often.

    Until gunicorn sets a worker's signal handlers, the arbiter's handler puts signals in this process's copy
    of the arbiter's queue, which nobody reads. Such a worker went on until it was killed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # there is nothing to finish yet
    while not arbiter.SIG_QUEUE.empty():
        if arbiter.SIG_QUEUE.get() in {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}:
            sys.exit(0)
    use_one_heap()
    collect_rarely()


def post_worker_init(worker: Any) -> None:
    """Start telemetry and pass the worker what it needs from the application. In the background, prepare for
    the first request, and start the clean-up of the embedded registry.
    """
    _telemetry(worker.app).start()
    known = getattr(worker.app.callable, "extensions", {}).get(WORKER)
    if isinstance(known, ForWorker) and hasattr(worker, "serve_with"):
        served = Served(known.tick, known.registry_of, known.group_of)
        worker.serve_with(known.events, known.body_limit, known.waiting_bodies, served)
        threading.Thread(target=known.prepare, name="prepare", daemon=True).start()
    directory = settings.embedded
    if directory is not None:
        arguments = (directory, worker.age == 1)
        threading.Thread(target=_clean_up, args=arguments, name="clean-up", daemon=True).start()


def _clean_up(directory: Path, first_worker: bool, wait: Callable[[float], None] = time.sleep) -> None:
    """The first worker collects all garbage once. Every worker removes expired uploads every ten minutes."""
    if first_worker:
        gc(directory)
    while True:
        wait(_CLEAN_UP_EVERY)
        remove_expired_uploads(directory)


def worker_exit(_arbiter: Any, worker: Any) -> None:
    """Stop telemetry in a worker that exits."""
    _telemetry(worker.app).stop()


def child_exit(arbiter: Any, worker: Any) -> None:
    """Update telemetry in the arbiter after a worker has exited."""
    _telemetry(arbiter.app).mark_process_dead(worker.pid)


def _telemetry(served: Any) -> Telemetry:
    """The telemetry of the application that gunicorn serves; one that does nothing if that isn't PyOCI."""
    extensions = getattr(served.callable, "extensions", {})
    found = extensions.get(TELEMETRY)
    return found if isinstance(found, Telemetry) else Telemetry()


def pre_exec(arbiter: Any) -> None:
    """On SIGUSR2, start `python -m gunicorn` again with the same arguments. gunicorn itself would run its
    file by path, and the modules beside that file would hide Python's own `http`.
    """
    words = arbiter.START_CTX["args"]
    if Path(words[1]).name == "__main__.py":
        words[1:2] = ["-m", "gunicorn"]


def _find_login() -> FindLogin | None:
    """What finds the operator's login for PYOCI_UPSTREAM_STORE; None if it isn't needed."""
    if settings.upstream_store is None:
        return None
    from pyoci.library.docker import docker_credentials  # which no other server needs

    return lambda host, path: docker_credentials(host, os.environ, path=path, seconds=_LOGIN_SECONDS)


def application(*, docker_credentials: bool = False) -> Flask:
    """The application, for `gunicorn 'pyoci.server:application()'`. With `docker_credentials`, requests of
    this machine that have no credentials get those of the user who started it.
    """
    lend: Lend | None = None
    if docker_credentials:
        from pyoci.library.lending import Lender  # which no other server needs

        lend = Lender(os.environ)
    try:
        return create_app(settings, lend=lend, find_login=_find_login())
    except WrongSettings as exc:
        sys.exit(str(exc))
