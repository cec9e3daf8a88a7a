"""Absent: which 404s of a registry mean that there is no such repository."""

from __future__ import annotations

import json

import pytest

from pyoci.oci.errors import RegistryNotFound, registry_error
from pyoci.store.project import Absent


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
