"""nginx before PyOCI, with the directives of docs/examples/nginx.conf, and its TLS where a test wants it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.live.environments import CHECKOUT
from tests.live.programs import find
from tests.live.servers import Port, Server, Servers

EXAMPLE = CHECKOUT / "docs" / "examples" / "nginx.conf"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # directories of nginx's


def start_nginx(
    servers: Servers,
    name: str,
    port: Port,
    folder: Path,
    first: Port,
    second: Port | None = None,
    tls: tuple[Port, Path, Path] | None = None,
) -> Server:
    """nginx in front of one PyOCI or two. They may not run yet, but one has to answer soon. `tls`: another
    port, with TLS by this key and certificate.
    """
    folder.mkdir()
    text = EXAMPLE.read_text()
    text = re.sub(r"(?m)^ *(listen \[::\]|ssl_|server_name).*\n", "", text)
    listen = f"listen 127.0.0.1:{port.number};"
    if tls is not None:
        listen += (
            f" listen 127.0.0.1:{tls[0].number} ssl; ssl_certificate_key {tls[1]}; ssl_certificate {tls[2]};"
        )
    text = text.replace("listen 443 ssl;", listen)
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{first.number}")
    text = text.replace("127.0.0.1:8081", f"127.0.0.1:{(second or first).number}")
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off;\nworker_processes 2;\npid {folder}/pid;\nerror_log {folder}/error.log warn;\n"
        f"events {{ worker_connections 2048; }}\nhttp {{\naccess_log off;\n"
        + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in _TEMPORARY)
        + text
        + "}\n"
    )
    program = find("nginx")
    assert program is not None, "nginx is not installed"
    command = [program, "-c", str(configuration), "-e", str(folder / "error.log")]
    return servers.start(name, command, port.url, ready="/health", env={})
