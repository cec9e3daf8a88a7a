"""No log line has a credential, at any level."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from tests.live import packages
from tests.live.clients import Clients
from tests.live.conftest import WRITER
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, refused, twine, uv
from tests.live.servers import Server, Servers
from tests.live.spelling import spellings, spellings_of_account

STRANGER = ("stranger", "open sesame/lentils+barley")
BEARER = "tok-4f1d2c9e8b7a6053/abc+def=="


@pytest.mark.live("twine", "uv", "pip")
def test_no_credentials(
    clients: Clients, guarded_index: PackageIndex, guarded_pyoci: Server, servers: Servers, tmp_path: Path
) -> None:
    """Passwords, right and wrong, and tokens, sent or fetched, stay out of the log at PYOCI_LOG=debug."""
    file = packages.wheel(tmp_path)
    python = clients.new_environment("environment")

    published(twine(clients, guarded_index, [file]))
    refused(uv(clients, guarded_index.signed_in(*STRANGER), [file]))
    url = guarded_index.url_with_credentials
    clients.run("pip", "--python", python, "install", "--no-cache-dir", "--index-url", url, "hello-world")
    answer = requests.get(
        f"{guarded_index.url}hello-world/", headers={"Authorization": f"Bearer {BEARER}"}, timeout=60
    )
    guarded_index.get(f"hello-world/?password={quote(STRANGER[1])}")
    guarded_index.yank("hello-world/1.0", True)
    guarded_pyoci.line('"request"', '"PATCH"')

    assert answer.status_code == 401
    log = guarded_pyoci.log.read_bytes()
    assert b"/hello-world/" in log
    issued = servers.folder / "token-server" / "issued.txt"
    tokens = issued.read_text().split() if issued.exists() else []
    planted = [*spellings_of_account(*WRITER), *spellings_of_account(*STRANGER), *spellings(BEARER)]
    planted += [spelling for token in tokens for spelling in spellings(token)]
    assert [secret for secret in planted if secret in log] == []
