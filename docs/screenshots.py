"""Makes the images in docs/images: `python -m docs.screenshots`, in a checkout with the extra dev and with
Debian's package chromium.
"""

from __future__ import annotations

import io
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

from pyoci.app import create_app
from pyoci.config import Settings
from tests.live import exhibits

IMAGES = Path(__file__).parent / "images"
_LIMIT = 150_000  # bytes of an image
_HOST = "packages.example.com"
_USER, _PASSWORD = "jane", "a-password"
_SHOTS = {
    "home": ("/?registry=ghcr.io&namespace=acme&tool=uv", "light"),
    "index": ("/acme/", "light"),
    "project": ("/acme/hello-world/", "light"),
    "version-dark": ("/acme/hello-world/1.0/", "dark"),
}


@contextmanager
def serving() -> Iterator[int]:
    """A server with the packages that tests look at, too. Yields its port."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "PYOCI_EMBEDDED": f"{folder}/data",
            "PYOCI_INDEXES": "acme=local/acme",
            "PYOCI_LOG": "off",
        }
        client = create_app(Settings.from_environ(settings), sleep=lambda _: None).test_client()
        for name, content in (*exhibits.ordinary(), *exhibits.neighbours()):
            form = {":action": "file_upload", "content": (io.BytesIO(content), name)}
            client.post("/local/acme/", data=form)
        client.patch("/local/acme/hello-world/1.0", json={"yanked": "It says goodbye."})
        # Without accounts the embedded registry answers only to requests for localhost.
        accounts = Path(folder) / "htpasswd"
        accounts.write_text(f"{_USER}:{bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
        app = create_app(Settings.from_environ(settings | {"PYOCI_EMBEDDED_HTPASSWD": str(accounts)}))
        server = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.port
        server.shutdown()


def main() -> int:
    """Write the images. Returns 1 if one of them is too large."""
    with serving() as port, sync_playwright() as playwright:
        mapped = f"--host-resolver-rules=MAP {_HOST}:80 127.0.0.1:{port}"
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", mapped]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        for name, (path, scheme) in _SHOTS.items():
            page = browser.new_page(
                viewport={"width": 1100, "height": 760},
                color_scheme="dark" if scheme == "dark" else "light",
                http_credentials={"username": _USER, "password": _PASSWORD},
            )
            page.goto(f"http://{_HOST}{path}")
            page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()
    return int(any(image.stat().st_size > _LIMIT for image in IMAGES.glob("*.png")))


if __name__ == "__main__":
    sys.exit(main())
