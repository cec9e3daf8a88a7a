"""docker_credentials: what `docker login` and its relatives have stored for a registry; and how to store it.

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
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyoci.errors import InvalidRequest, Unauthorized
from pyoci.library.configuration import change_file
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
    are none. Their hint names the file. Raises Unauthorized if a file or a helper can't be used.
    """
    for file in _files(environ):
        config = _read(file)
        if config is not None:
            found = _from(config, file, host, path, environ, seconds)
            if found is not None:
                return replace(found, hint=f"; the login came from {file}")
    return None


def store_login(host: str, login: Basic, environ: Mapping[str, str], *, seconds: float) -> str:
    """Store the login for a host as `docker login` does: in the credential helper that the configuration
    names, else in the file. Returns what has it now, for people. Raises Unauthorized, InvalidRequest.
    """
    file = _own_file(environ)
    helper, server = _helper_for(_read(file) or {}, host)
    entry = {"auth": base64.b64encode(f"{login.username}:{login.password}".encode()).decode()}
    if helper:
        document = {"ServerURL": server, "Username": login.username, "Secret": login.password}
        name, code, _ = _call(helper, "store", json.dumps(document), file, environ, seconds)
        if code != 0:
            raise Unauthorized(f"{name} failed with exit code {code} when it should store a login")
        entry = {}  # `docker logout` and `podman` see by it that there is a login

    def change() -> str:
        config = _read(file) or {}
        others = {key: value for key, value in _mapping(config.get("auths")).items() if not _is_of(key, host)}
        return _text({**config, "auths": {**others, _server(host): entry}})

    change_file(file, change)
    return name if helper else str(file)


def erase_login(host: str, environ: Mapping[str, str], *, seconds: float) -> bool:
    """Erase the login for a host as `docker logout` does; says whether there was one. Raises Unauthorized."""
    file = _own_file(environ)
    config = _read(file) or {}
    helper, server = _helper_for(config, host)
    found = False
    if helper and _ask(helper, server, file, environ, seconds) is not None:
        name, code, _ = _call(helper, "erase", server, file, environ, seconds)
        if code != 0:
            raise Unauthorized(f"{name} failed with exit code {code} when it should erase a login")
        found = True
    if not any(_is_of(key, host) for key in _mapping(config.get("auths"))):
        return found

    def change() -> str:
        config = _read(file) or {}
        auths = {key: value for key, value in _mapping(config.get("auths")).items() if not _is_of(key, host)}
        return _text({**config, "auths": auths})

    change_file(file, change)
    return True


def _own_file(environ: Mapping[str, str]) -> Path:
    """The file that is read first."""
    file = next(_files(environ), None)
    if file is None:
        raise InvalidRequest("HOME is not set; expected the home directory, or DOCKER_CONFIG with a folder")
    return file


def _is_of(key: str, host: str) -> bool:
    return _place(key) == (_known(host), "")


def _text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent="\t", ensure_ascii=False) + "\n"


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
    helper, server = _helper_for(config, host)
    if helper:
        found = _ask(helper, server, file, environ, seconds)
        if found is not None:
            return found
    return _stored(_mapping(config.get("auths")), file, host, path)


def _helper_for(config: Mapping[str, Any], host: str) -> tuple[object, str]:
    """The helper that has the login for a host, and the name that it knows the host by."""
    helpers = _mapping(config.get("credHelpers"))
    own = next((key for key in helpers if _is_of(key, host)), None)
    return (helpers[own], own) if own is not None else (config.get("credsStore"), _server(host))


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
    name, code, answer = _call(helper, "get", server, file, environ, seconds)
    if code != 0:
        if _NOT_FOUND in answer.decode("utf-8", "replace").lower():
            return None
        raise Unauthorized(f"{name} failed with exit code {code} when it was asked for {server}")
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Unauthorized(f"the answer of {name} can't be read; expected JSON with Username and Secret")
    if not document.get("Username") and not document.get("Secret"):
        return None
    return _login(document.get("Username"), document.get("Secret"), f"{name} answered for {server}")


def _call(
    helper: object, verb: str, given: str, file: Path, environ: Mapping[str, str], seconds: float
) -> tuple[str, int, bytes]:
    """Run `docker-credential-<helper> <verb>`: its name, its exit code and its answer."""
    if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
        raise Unauthorized(
            f"{file} names a credential helper with an invalid name; expected a word like pass"
        )
    name = f"docker-credential-{helper}"
    program = shutil.which(name, path=environ.get("PATH"))
    if program is None:
        raise Unauthorized(f"{file} names {name}, which is not installed; expected it on PATH")
    code, answer = _run([program, verb], given.encode(), name, environ, seconds)
    return name, code, answer


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
