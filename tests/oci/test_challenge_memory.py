"""A challenge that couldn't be answered isn't cached."""

from __future__ import annotations

import pytest
import responses

from pyoci.errors import PyOCIError
from pyoci.oci.session import OCISession
from tests.oci.conftest import BASE, REPOSITORY

TAGS = f"{BASE}/tags/list?n=1000"


@pytest.mark.parametrize("realm", ["https://private.example/token", "http://auth.example/token", "nonsense"])
def test_a_registry_whose_realm_was_repaired_is_asked_again(
    answers: responses.RequestsMock, session: OCISession, realm: str
) -> None:
    """Otherwise a Harbor with a wrong external URL would stay unusable for an hour after it was repaired."""
    answers.get(TAGS, status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})
    with pytest.raises(PyOCIError):
        session.tags(REPOSITORY)
    answers.replace("GET", TAGS, json={"tags": ["1.0"]})
    assert session.tags(REPOSITORY) == ("1.0",)
