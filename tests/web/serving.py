"""An application for gunicorn, over a store in memory and with short time limits; see test_server.py."""

from __future__ import annotations

from typing import Any, cast

from flask import Flask

from pyoci.store.models import FileStream
from pyoci.store.service import PackageStore
from pyoci.web import Site, register
from pyoci.web.body import Patience
from tests.web.doubles import MemoryStore, Registries

MAX_BODY = 1_000_000  # bytes
PATIENCE = Patience(progress=1.0, start=3.0, slowest=10_000, chunked=3.0, refusal=3.0, cap=5_000_000)
BROKEN = "hello_world-6.6.zip"  # a download that breaks off in the middle
LARGE = "hello_world-7.7.zip"


class BreakingStore(MemoryStore):
    """Fails while the broken file is read."""

    def open(self, namespace: Any, name: Any, filename: str, *arguments: Any, **options: Any) -> FileStream:
        self.break_after = 2 if filename == BROKEN else None
        return super().open(namespace, name, filename, *arguments, **options)


def create() -> Flask:
    store = BreakingStore()
    for filename in (BROKEN, LARGE):
        store.put(filename, b"x" * 1_000_000)
    app = Flask("serving")
    register(
        app,
        Site(store=cast(PackageStore, store), registries=Registries(), max_body=MAX_BODY, patience=PATIENCE),
    )
    return app
