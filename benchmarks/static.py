"""PyOCI's answers as files, served by nginx: the simplest possible package index."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urljoin

import requests

from benchmarks.load import ACCEPT
from benchmarks.results import Missed
from benchmarks.servers import Site, Stage
from tests.live.programs import find
from tests.live.servers import Server

_TIMEOUT = 60  # seconds
_CONFIGURATION = """\
{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    types {{ }}
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/root;
        index page.json;
        rewrite "^(.*/)\\+[0-9a-f]+/(.*)$" $1$2;
        location ~ /page.json$ {{ default_type application/vnd.pypi.simple.v1+json; }}
    }}
}}
"""


def nginx(stage: Stage, site: Site, projects: Iterable[str]) -> Server:
    """nginx with copies of the pages, files and metadata of a PyOCI, at the same paths."""
    program = find("nginx") or find("/usr/sbin/nginx")
    if program is None:
        raise Missed("nginx is not installed; Debian's package of that name brings it")
    name, port = stage.name("nginx"), stage.port()
    folder = stage.new_folder(name)
    for project in projects:
        _copy(site, project, folder / "root")
    (folder / "root" / "ready").write_text("ready")
    path = folder / "nginx.conf"
    # As root its workers would be nobody, who may not look into a temporary directory.
    user = "user root;" if os.getuid() == 0 else ""
    path.write_text(_CONFIGURATION.format(user=user, folder=folder, port=port.number))
    port.close()  # it takes no port that somebody else has bound
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(path)]
    return stage.start(name, command, port.url, "/ready")


def _copy(site: Site, project: str, root: Path) -> None:
    path = site.page_of(project)
    folder = root / path.strip("/")
    folder.mkdir(parents=True)
    with requests.Session() as session:
        session.trust_env = False

        def get(path: str) -> bytes:
            answer = session.get(urljoin(site.server.url, path), headers={"Accept": ACCEPT}, timeout=_TIMEOUT)
            if answer.status_code != 200:
                raise Missed(f"{path} was answered with {answer.status_code}; expected 200")
            return answer.content

        page = get(path)
        (folder / "page.json").write_bytes(page)
        for file in json.loads(page)["files"]:
            name = file["filename"]
            (folder / name).write_bytes(get(f"{path}{name}"))
            (folder / f"{name}.metadata").write_bytes(get(f"{path}{name}.metadata"))
