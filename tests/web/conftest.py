"""Fixtures: a store in memory, the application over it, a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pyoci.events import Events
from pyoci.web import Site, register
from tests.web.doubles import MemoryStore, Registries

MakeApp = Callable[..., Flask]  # takes what the Site is to be given


class LoggedEvents(list[dict[str, Any]]):
    """The events that the web package logged."""

    def log(self, event: str, **facts: Any) -> None:
        self.append({"event": event, **facts})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registries() -> Registries:
    return Registries()


@pytest.fixture
def logged() -> LoggedEvents:
    return LoggedEvents()


@pytest.fixture
def make_app(store: MemoryStore, registries: Registries, logged: LoggedEvents) -> MakeApp:
    """Makes applications over the store; overrides are the Site's."""

    def make(**overrides: Any) -> Flask:
        values: dict[str, Any] = {
            "store": store,
            "registries": registries,
            "max_body": 50_000_000,
            "events": Events(logged.log),
        }
        app = Flask("tests")
        register(app, Site(**(values | overrides)))
        return app

    return make


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
