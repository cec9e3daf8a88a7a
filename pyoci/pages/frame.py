"""The frame of every page: templates, style, script, and the headers that go with them.

Style and script are part of each page, and the Content-Security-Policy names them by their hashes. So a page
is complete with one answer, behind any proxy and any prefix, and nothing else can run or be loaded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).with_name("templates")
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Frame:
    environment: Environment
    headers: tuple[tuple[str, str], ...]


def html(template: str, **values: Any) -> bytes:
    """A page: the template `<template>.html` with these values."""
    text = _frame().environment.get_template(f"{template}.html").render(values)
    return text.encode("utf-8", "replace")


def headers() -> tuple[tuple[str, str], ...]:
    """The headers of every page, besides those about caching."""
    return _frame().headers


def count(number: int, one: str, many: str = "") -> str:
    """`1 file`, `2 files`, `1,234 files`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def size(number: int) -> str:
    """A number of bytes as people read it: `12.3 kB`."""
    if number < 1000:
        return f"{number} B"
    shown = float(number)
    units = iter(("kB", "MB", "GB"))
    unit = "B"
    while shown >= 999.5 and unit != "GB":
        shown, unit = shown / 1000, next(units)
    return f"{shown:.1f} {unit}" if shown < 99.5 else f"{shown:.0f} {unit}"


def page_number(text: str) -> int:
    """The number of a page in a query. What is wrong counts as missing."""
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 6 else 1


def page_of(items: Sequence[_Item], number: int, most: int) -> tuple[Sequence[_Item], int, int]:
    """One page of a list with at `most` so many items on a page: its items, its number, and the number of
    pages. A `number` that is too high means the last page.
    """
    pages = max(-(-len(items) // most), 1)
    number = min(max(number, 1), pages)
    return items[(number - 1) * most : number * most], number, pages


def ticks(text: str) -> Markup:
    """The text, with what stands between backticks as code."""
    parts = text.split("`")
    codes = (
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(parts)
    )
    return Markup("").join(codes)


@lru_cache(maxsize=1)
def _frame() -> _Frame:
    """Everything that is the same on all pages. It is made for the first page, so that a server whose pages
    nobody looks at doesn't load it.
    """
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {"style": Markup(style), "script": Markup(script)}  # noqa: S704  # our own files
    environment.filters |= {"count": count, "size": size, "ticks": ticks}
    policy = (
        "default-src 'none'",
        f"style-src '{_hash(style)}'",
        f"script-src '{_hash(script)}'",
        "img-src data:",  # the icon, which is part of the page
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return _Frame(
        environment,
        (
            ("Content-Security-Policy", "; ".join(policy)),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ),
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
