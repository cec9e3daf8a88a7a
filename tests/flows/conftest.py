"""The whole application over its own embedded registry."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pyoci.app import create_app
from pyoci.config import Settings
from pyoci.telemetry.logs import Log

MakeClient = Callable[..., FlaskClient]


class Lines(io.StringIO):
    """Records log lines."""

    def read_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


class ReadingClient(FlaskClient):
    """Reads every answer to its end and closes it, like a server."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        return super().open(*args, **{"buffered": True, **kwargs})


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def make_client(tmp_path: Path, lines: Lines) -> MakeClient:
    """Makes clients of an application with the given environment variables."""

    def make(**environ: str) -> FlaskClient:
        settings = Settings.from_environ({"PYOCI_EMBEDDED": str(tmp_path / "registry"), **environ})
        log = Log(settings.log.default, settings.log.rooms, lines)
        # There is no other writer to wait for, and a registry that fails does so at each attempt.
        app = create_app(settings, log, sleep=lambda _: None, retry_sleep=lambda _: None)
        app.test_client_class = ReadingClient
        return app.test_client()

    return make


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    return make_client()
