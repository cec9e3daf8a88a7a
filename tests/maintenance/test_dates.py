"""Upload times from the APIs of devpi, Artifactory and Nexus, as recorded from their documentation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from pyoci.errors import Denied, NotFound, ProtocolError
from pyoci.maintenance.dates import upload_times

WHEN = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
WHEEL = "hello_world-1.0-py3-none-any.whl"
DEVPI = {
    "type": "projectconfig",
    "result": {
        "1.0": {
            "name": "hello-world",
            "+links": [
                {
                    "rel": "releasefile",
                    "href": f"https://devpi.example.com/root/prod/+f/ab1/{WHEEL}",
                    "log": [
                        {"what": "upload", "who": "me", "when": [2024, 5, 1, 12, 30, 0]},
                        {"what": "push", "who": "me", "when": [2025, 1, 1, 0, 0, 0]},
                    ],
                },
                {"rel": "doczip", "href": "https://devpi.example.com/x.zip", "log": [{"what": "upload"}]},
            ],
        },
        "2.0": {"name": "hello-world"},
    },
}
STORAGE = {
    "repo": "pypi-local",
    "path": f"/hello-world/1.0/{WHEEL}",
    "created": "2024-05-01T14:30:00.000+02:00",
}
NEXUS = {
    "": {
        "items": [{"path": "packages/hello-world/0.9/hello-world-0.9.tar.gz", "blobCreated": None}],
        "continuationToken": "a/b",
    },
    "&continuationToken=a%2Fb": {
        "items": [
            {
                "path": f"packages/hello-world/1.0/{WHEEL}",
                "lastModified": "2025-01-01T00:00:00.000+00:00",
                "blobCreated": "2024-05-01T12:30:00.000+00:00",
            }
        ],
        "continuationToken": None,
    },
}


def times(index: str, answers: Mapping[str, Any], file: str = "") -> dict[str, datetime]:
    def fetch(url: str) -> Any:
        if url not in answers:
            raise NotFound(url)
        return answers[url]

    return upload_times(index, "hello-world", [file], fetch)


def test_devpi() -> None:
    answers = {"https://devpi.example.com/root/prod/hello-world": DEVPI}
    assert times("https://devpi.example.com/root/prod/+simple/", answers) == {WHEEL: WHEN}


def test_artifactory() -> None:
    """Its index may be below a path, and its files are below the index."""
    base, path = "https://art.example.com/artifactory", f"hello-world/1.0/{WHEEL}"
    answers = {f"{base}/api/storage/pypi-local/{path}": STORAGE}
    found = times(f"{base}/api/pypi/pypi-local/simple/", answers, f"{base}/api/pypi/pypi-local/{path}")
    assert found == {WHEEL: WHEN}


def test_artifactory_is_not_asked_about_files_elsewhere() -> None:
    """A URL of another host would get the credentials of this one."""
    url = f"https://elsewhere.example.com/artifactory/api/pypi/pypi-local/hello-world/1.0/{WHEEL}"
    assert times("https://art.example.com/artifactory/api/pypi/pypi-local/simple/", {}, url) == {}


def test_nexus() -> None:
    search = "https://nexus.example.com/service/rest/v1/search/assets?repository=py-hosted&format=pypi&name=hello-world"
    answers = {search + token: page for token, page in NEXUS.items()}
    assert times("https://nexus.example.com/repository/py-hosted/simple/", answers) == {WHEEL: WHEN}


def test_any_other_index() -> None:
    assert times("https://example.com/simple/", {}) == {}


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"result": []}, {"result": {"1.0": {"+links": [{"log": [{"what": "upload"}]}]}}}]
)
def test_nonsense_gives_no_times(answer: object) -> None:
    assert (
        times("https://devpi.example.com/a/b/+simple/", {"https://devpi.example.com/a/b/hello-world": answer})
        == {}
    )


@pytest.mark.parametrize("refusal", [NotFound("x"), Denied("x"), ProtocolError("x")])
def test_refusal_gives_no_times(refusal: Exception) -> None:
    def fetch(_url: str) -> Any:
        raise refusal

    assert upload_times("https://devpi.example.com/a/b/+simple/", "hello-world", [], fetch) == {}
