"""Absent: which 404s of a registry mean that there is no such repository."""

from __future__ import annotations

import json
import threading

import pytest

from pyoci.errors import NotFound, Unreachable
from pyoci.oci.errors import RegistryNotFound, registry_error
from pyoci.store.project import Absent, in_threads


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["NAME_UNKNOWN"], True),
        (["name_unknown"], True),
        (["NOT_FOUND"], True),  # Harbor's
        (["NAME_UNKNOWN", "NAME_UNKNOWN"], True),
        (["NAME_UNKNOWN", "DENIED"], False),
        (["UNAUTHORIZED", "NAME_UNKNOWN"], False),
        (["NAME_UNKNOWN", ""], False),
        (["NAME_INVALID"], False),
        (["MANIFEST_UNKNOWN"], False),
        ([], False),
    ],
    ids=str,
)
def test_absence_with_another_code_is_not_conclusive(codes: list[str], expected: bool) -> None:
    """The registry gives another reason, too."""
    body = json.dumps({"errors": [{"code": code} for code in codes]}).encode()
    refusal = registry_error("list tags", "registry.example", 404, {}, body)
    assert isinstance(refusal, RegistryNotFound)
    assert Absent.by("there is none", refusal).is_conclusive is expected


class TestInThreads:
    """Work of one request that waits for a registry."""

    def test_results_have_the_order_of_the_items(self) -> None:
        """Whichever is done first."""
        done = threading.Event()

        def work(item: int) -> int:
            if item == 0:
                done.wait(30)
            elif item == 9:
                done.set()
            return item * item

        for width in (1, 2, 20):
            items = range(10) if width > 1 else range(1, 10)
            assert in_threads(width, work, items, 30, "late") == [item * item for item in items]

    def test_what_takes_too_long_is_an_error(self) -> None:
        """The request doesn't wait for it."""
        end = threading.Event()
        try:
            with pytest.raises(Unreachable, match="takes too long"):
                in_threads(2, lambda _: end.wait(30), range(4), 0.05, "it takes too long")
        finally:
            end.set()

    @pytest.mark.parametrize("width", [1, 4])
    def test_a_failure_ends_the_work(self, width: int) -> None:
        """It is raised as it is."""

        def work(item: int) -> None:
            raise NotFound(f"no {item}")

        with pytest.raises(NotFound):
            in_threads(width, work, range(4), 30, "late")
