"""Pages of another package index, for tests."""

from __future__ import annotations

from typing import Any

from pyoci.simple_api.model import File
from pyoci.upstream.client import UpstreamPage


def make_upstream_file(filename: str = "flask-3.1.0-py3-none-any.whl", **overrides: Any) -> File:
    """A file of upstream."""
    url = f"https://files.example/{filename}"
    return File(**{"filename": filename, "url": url, "hashes": {"sha256": "ab" * 32}, **overrides})


def make_upstream_page(name: str = "flask", *files: File, **overrides: Any) -> UpstreamPage:
    """A page with these files, or with one of its own."""
    files = files or (make_upstream_file(f"{name.replace('-', '_')}-3.1.0-py3-none-any.whl"),)
    values: dict[str, Any] = {"versions": ("3.1.0",), "fingerprint": name, "until": float("inf")}
    return UpstreamPage(**{"name": name, "files": files, **values, **overrides})
