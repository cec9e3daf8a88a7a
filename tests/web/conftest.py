"""Fixtures: a store in memory, the application over it, a client."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pyoci.events import Events
from pyoci.web import Site, register
from tests.web.doubles import MemoryStore, Registries


class Told(list[dict[str, Any]]):
    """What the room told its events."""

    def tell(self, event: str, **facts: Any) -> None:
        self.append({"event": event, **facts})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registries() -> Registries:
    return Registries()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def make_app(store: MemoryStore, registries: Registries, told: Told):
    """Makes applications over the store; overrides are the Site's."""

    def make(**overrides: Any) -> Flask:
        values = {"store": store, "registries": registries, "events": Events(told.tell)}
        app = Flask("tests")
        register(app, Site(**(values | overrides)))
        return app

    return make


@pytest.fixture
def app(make_app) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
