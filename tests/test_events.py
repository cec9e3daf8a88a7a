"""Events: by default they do nothing; outcomes are counted by the kind of error."""

from __future__ import annotations

import pytest

from pyoci.errors import TooLarge
from pyoci.events import Events
from pyoci.oci.errors import RegistryDenied


def test_nobody_listens_by_default() -> None:
    """Every callable has a default that does nothing."""
    events = Events()
    events.log("event", room="web", level="info")
    events.count("cache", "page", "hit")
    with events.calling("manifest", "https://ghcr.io", {"method": "GET"}):
        assert events.headers() == {}


@pytest.mark.parametrize(
    ("error", "result"),
    [(TooLarge("over 1 byte"), "TooLarge"), (RegistryDenied("no"), "Denied"), (KeyError("defect"), "failed")],
    ids=["kind", "kind of a kind", "defect"],
)
def test_failures_are_counted_by_kind(error: Exception, result: str) -> None:
    """A RegistryError is counted as its kind in pyoci.errors, and raised."""
    counted: list[tuple[str, ...]] = []
    with (
        pytest.raises(type(error)),
        Events(count=lambda *values: counted.append(values)).outcome("uploads"),
    ):
        raise error
    assert counted == [("uploads", result)]


def test_success_is_counted() -> None:
    """The outcome of a block without an exception is `done`."""
    counted: list[tuple[str, ...]] = []
    with Events(count=lambda *values: counted.append(values)).outcome("uploads"):
        pass
    assert counted == [("uploads", "done")]
