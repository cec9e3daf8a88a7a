"""docker_credentials: what `docker login` and its relatives have stored for a registry.

The files are those of Docker (~/.docker/config.json) and of skopeo, podman and buildah (REGISTRY_AUTH_FILE).
Both may name programs that have the passwords: the credential helpers of `docker login`.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyoci.errors import Unauthorized
from pyoci.oci.credentials import Basic, Credentials, IdentityToken
from pyoci.oci.quirks import HUB_HOST

_FILE_LIMIT = 4 * 1024 * 1024  # bytes of config.json
_ANSWER_LIMIT = 1024 * 1024  # bytes of a helper's answer; Google's keys have some 2,000
_HELPER = re.compile(r"[A-Za-z0-9._-]{1,100}")
_HUB_KEYS = ("https://index.docker.io/v1/", "docker.io", "index.docker.io", HUB_HOST)
_TOKEN_USER = "<token>"  # noqa: S105  # the user name by which a helper marks an identity token
_NOT_FOUND = "credentials not found"


def docker_credentials(
    host: str, environ: Mapping[str, str], *, path: str = "", seconds: float
) -> Credentials | None:
    """The credentials for a host, or for `path` below it where a file has an entry for that; None if there
    are none. Raises Unauthorized if a file or a helper can't be used.
    """
    for file in _files(environ):
        config = _read(file)
        if config is not None:
            found = _from(config, file, host, path, environ, seconds)
            if found is not None:
                return found
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get("REGISTRY_AUTH_FILE"):
        yield Path(environ["REGISTRY_AUTH_FILE"])
    directory = environ.get("DOCKER_CONFIG") or (environ.get("HOME") and f"{environ['HOME']}/.docker")
    if directory:
        yield Path(directory) / "config.json"


def _read(file: Path) -> dict[str, Any] | None:
    try:
        with file.open("rb") as content:
            text = content.read(_FILE_LIMIT + 1)
        config = json.loads(text) if len(text) <= _FILE_LIMIT else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise Unauthorized(f"{file} can't be read: {exc.strerror}") from None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise Unauthorized(f"{file} is not JSON of credentials; expected what `docker login` writes")
    return config


def _from(
    config: Mapping[str, Any],
    file: Path,
    host: str,
    path: str,
    environ: Mapping[str, str],
    seconds: float,
) -> Credentials | None:
    helpers, store = _mapping(config.get("credHelpers")), config.get("credsStore")
    own = next((key for key in helpers if _place(key) == (_known(host), "")), None)
    helper, server = (helpers[own], own) if own is not None else (store, _server(host))
    if helper:
        found = _ask(helper, server, file, environ, seconds)
        if found is not None:
            return found
    return _stored(_mapping(config.get("auths")), file, host, path)


def _stored(auths: Mapping[str, Any], file: Path, host: str, path: str) -> Credentials | None:
    """The entry for the longest part of the path, or for the host."""
    fitting = [
        (len(below), key)
        for key, (there, below) in ((key, _place(key)) for key in auths)
        if there == _known(host) and (not below or f"{path}/".startswith(f"{below}/"))
    ]
    for _, key in sorted(fitting, reverse=True):
        found = _decoded(_mapping(auths[key]), file, key)
        if found is not None:
            return found
    return None


def _decoded(entry: Mapping[str, Any], file: Path, key: str) -> Credentials | None:
    if entry.get("identitytoken"):
        return _login(_TOKEN_USER, entry["identitytoken"], f"{file} has for {key}")
    if entry.get("username") and entry.get("password"):
        return _login(entry["username"], entry["password"], f"{file} has for {key}")
    if not entry.get("auth"):
        return None  # the secret is in the credential store
    try:
        pair = base64.b64decode(entry["auth"], validate=True).decode()
    except (binascii.Error, ValueError, TypeError):
        pair = ""
    username, _, password = pair.partition(":")
    return _login(username, password.rstrip("\0"), f"{file} has for {key}")


def _login(username: object, secret: object, whose: str) -> Credentials:
    if not isinstance(username, str) or not isinstance(secret, str) or not username or not secret:
        raise Unauthorized(f"what {whose} is no login; expected a user and a password")
    return IdentityToken(secret) if username == _TOKEN_USER else Basic(username, secret)


def _ask(
    helper: object, server: str, file: Path, environ: Mapping[str, str], seconds: float
) -> Credentials | None:
    """The answer of a credential helper, `docker-credential-<helper> get`."""
    if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
        raise Unauthorized(f"{file} names a credential helper that can't be one; expected a word like pass")
    name = f"docker-credential-{helper}"
    program = shutil.which(name, path=environ.get("PATH"))
    if program is None:
        raise Unauthorized(f"{file} names {name}, which is not installed; expected it on PATH")
    code, answer = _run([program, "get"], server.encode(), name, environ, seconds)
    if code != 0:
        if _NOT_FOUND in answer.decode("utf-8", "replace").lower():
            return None
        raise Unauthorized(f"{name} failed with exit code {code} when it was asked for {server}")
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Unauthorized(f"{name} answered nonsense; expected JSON with Username and Secret")
    if not document.get("Username") and not document.get("Secret"):
        return None
    return _login(document.get("Username"), document.get("Secret"), f"{name} answered for {server}")


def _run(
    command: list[str], given: bytes, name: str, environ: Mapping[str, str], seconds: float
) -> tuple[int, bytes]:
    """The exit code and the answer of a helper, which is ended with its children if it takes too long."""
    try:
        process = subprocess.Popen(  # noqa: S603  # a program that the user's own configuration names
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            process_group=0,
        )
    except OSError as exc:
        raise Unauthorized(f"{name} can't be started: {exc.strerror}") from None
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(given)
            process.stdin.close()
        answer = process.stdout.read(_ANSWER_LIMIT + 1)
        if len(answer) > _ANSWER_LIMIT:
            raise Unauthorized(f"{name} answered more than {_ANSWER_LIMIT} bytes; expected a login")
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            _kill(process)
            process.wait()
        process.stdout.close()
    if late.is_set():
        raise Unauthorized(f"{name} did not answer within {seconds:g} seconds; expected a login")
    return code, answer


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _known(host: str) -> str:
    return HUB_HOST if host in _HUB_KEYS else host


def _server(host: str) -> str:
    return _HUB_KEYS[0] if host == HUB_HOST else host


def _place(key: str) -> tuple[str, str]:
    """The host and the path of an entry's key: `ghcr.io`, `https://ghcr.io/v2/`, `ghcr.io/acme`."""
    host, _, path = re.sub(r"^https?://", "", key.lower()).partition("/")
    path = path.strip("/")
    return _known(host), "" if path in {"v1", "v2"} else path


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
