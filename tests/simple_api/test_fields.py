"""Each key of a file is declared once, and the writers and the parser follow."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.simple_api.model import FIELDS, Field, File, Page, ProjectStatus
from pyoci.simple_api.reading import read_html, read_json
from pyoci.simple_api.writing import page_html, page_json

# A value for each key, as a page has it.
VALUES = {
    "size": 123,
    "upload_time": "2026-01-02T03:04:05.678901Z",
    "requires_python": ">=3.8,<4",
    "provenance": "https://files.example/provenance?a=1&b='2'",
    "gpg_sig": False,
    "core_metadata": {"sha256": "ab" * 32},
    "yanked": 'it\'s <broken> & "old"',
}
NAME = "hello_world-1.0-py3-none-any.whl"


def page(**values: Any) -> Page:
    """A page with one file, of which these fields are known."""
    file = File(NAME, f"https://files.example/{NAME}", {"sha256": "cd" * 32})._replace(**values)
    return Page(name="hello-world", files=(file,), versions=("1.0",))


def test_every_key_of_json_is_declared() -> None:
    """Three keys that every file has, two that only the legacy JSON has, and one of our own, which isn't
    read, are no row of FIELDS.
    """
    others = {"filename", "url", "hashes", "version", "project_urls", "publisher"}
    assert sorted({*File._fields} - others) == sorted(field.attribute for field in FIELDS)


def test_a_publisher_is_written_and_not_read() -> None:
    """Under a key of our own (PEP 691). Another index's page can't name one."""
    written = page(publisher="alice")
    assert b'"_publisher":"alice"' in page_json(written)
    assert b"alice" not in page_html(written)
    assert read_json(page_json(written), "hello-world", "") == page()


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.key)
class TestField:
    def test_what_is_written_is_read(self, field: Field) -> None:
        """In JSON and in HTML, whatever characters its value has."""
        written = page(**{field.attribute: VALUES[field.attribute]})
        assert read_json(page_json(written), "hello-world", "") == written
        assert read_html(page_html(written), "hello-world", "") == written

    def test_what_is_unknown_is_not_written(self, field: Field) -> None:
        """uv rejects a page for one null."""
        assert f'"{field.key}":'.encode() not in page_json(page())
        assert f"data-{field.key}".encode() not in page_html(page())


@pytest.mark.parametrize("reason", [None, 'see "quart" & <others>'])
def test_the_status_is_written_in_both_forms(reason: str | None) -> None:
    """PEP 792, for pages of any origin; JSON may have its keys in either order."""
    written = Page(name="a", files=(), versions=(), status=ProjectStatus("archived", reason))
    for files_last in (True, False):
        assert read_json(page_json(written, files_last=files_last), "a", "") == written
    assert read_html(page_html(written), "a", "") == written
