"""What the command prints for people."""

from __future__ import annotations

import pytest

from pyoci.cli.output import present, size


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, ""), (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1500, "1.5 kB")],
)
def test_sizes(count: int | None, shown: str) -> None:
    """With three digits, and in the singular where it is due."""
    assert size(count) == shown


@pytest.mark.parametrize(("number", "verb"), [(0, "were"), (1, "was"), (2, "were")])
def test_what_was_there(number: int, verb: str) -> None:
    """The verb agrees with the number."""
    assert present(number) == f"{number} {verb} there already"
