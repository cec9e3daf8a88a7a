"""`pyoci doctor` against real registries: without a password, with one, and with a token server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.live.conftest import WRITER
from tests.live.servers import Server

pytestmark = pytest.mark.live("docker-registry")


def doctor(address: str, home: Path, *options: str, **environ: str) -> dict[str, dict[str, Any]]:
    """The findings by check."""
    done = subprocess.run(
        [sys.executable, "-m", "pyoci", "doctor", address, "--json", *options],
        env={"PATH": os.defpath, "HOME": str(home), **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    findings = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == int("bad" in [each["outcome"] for each in findings.values()])
    return findings


@pytest.mark.parametrize(
    ("fixture", "authentication"),
    [
        pytest.param("docker_registry", "none at /v2/", id="open"),
        pytest.param("guarded_registry", "passwords", id="password"),
        pytest.param("token_registry", "tokens from", id="tokens", marks=pytest.mark.live("token-server")),
    ],
)
def test_docker_registry(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, authentication: str
) -> None:
    """It has all but referrers. The tag that was written is gone afterwards."""
    server: Server = request.getfixturevalue(fixture)
    login = dict(zip(("PYOCI_USERNAME", "PYOCI_PASSWORD"), WRITER, strict=True))
    findings = doctor(f"{server.url}/acme/n{uuid.uuid4().hex[:8]}", tmp_path, "--write", **login)

    limited = {check for check, each in findings.items() if each["outcome"] != "good"}
    assert limited - {"catalogue", "pagination"} == {"referrers"}, findings
    assert findings["authentication"]["answer"].startswith(authentication)
    assert findings["deleting"]["answer"] == "done"
    with requests.Session() as session:
        session.trust_env = False
        if fixture != "token_registry":
            url = f"{server.url}/v2/{findings['writing']['answer']}/tags/list"
            left = session.get(url, auth=WRITER, timeout=60).json().get("tags")
            assert not left


def test_nobody_at_a_guarded_registry(guarded_registry: Server, tmp_path: Path) -> None:
    """Exit code 1: PyOCI can't read there without credentials."""
    findings = doctor(f"{guarded_registry.url}/acme", tmp_path)
    assert findings["caller"]["answer"] == "nobody"
    assert findings["reading"]["outcome"] == "bad"
