"""Details: everything in core metadata that a page shows to people, with limits on each field.

A mistake in one field costs that field alone. No value is trusted: they come from whoever built the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from packaging.metadata import RawMetadata
from packaging.requirements import InvalidRequirement, Requirement

from pyoci.distributions.labels import shown_line
from pyoci.distributions.metadata import parse_headers
from pyoci.errors import InvalidRequest

_LINE = 1000  # characters of a value that is one line
_TEXT = 20_000  # characters of a licence's text, which old metadata has in place of its name
_ITEMS = 500  # of a repeated field
_DESCRIPTION = 4 * 1024 * 1024  # characters
_UNKNOWN = "UNKNOWN"
# `"A name" <a@example.com>`; each part may be missing. email.utils would recurse into nested comments.
_PERSON = re.compile(r'\s*(?:"([^"]*)"|([^,<"]+))?\s*(?:<([^<>]*)>)?\s*(?:,|\Z)')


@dataclass(frozen=True, slots=True)
class Person:
    """An author or a maintainer. Either of the two may be empty, but not both."""

    name: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Dependency:
    """One Requires-Dist. `extra` is the extra that asks for it, "" for all installations; `marker` is the
    rest of its condition.
    """

    name: str
    specifier: str = ""
    marker: str = ""
    extra: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a file's metadata says about the project. Absent values are empty."""

    spelling: str = ""  # of the project's name
    summary: str = ""
    licence: str = ""  # the SPDX expression, or what older metadata has in its place
    keywords: tuple[str, ...] = ()
    authors: tuple[Person, ...] = ()
    maintainers: tuple[Person, ...] = ()
    classifiers: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    project_urls: tuple[tuple[str, str], ...] = ()
    description: str = field(default="", repr=False)
    description_type: str = ""  # a media type, without parameters


def read_details(text: bytes) -> Details:
    """Read METADATA. Raises InvalidRequest if it has no headers that can be read."""
    raw, unparsed = parse_headers(text, "METADATA")
    urls = [*raw.get("project_urls", {}).items(), *_pairs(unparsed.get("project-url", ()))]
    for label, url in (("Homepage", raw.get("home_page", "")), ("Download", raw.get("download_url", ""))):
        if _line(url) and not any(_line(known).lower() == label.lower() for known, _ in urls):
            urls.append((label, url))
    return Details(
        spelling=_line(raw.get("name", "")),
        summary=_line(raw.get("summary", "")),
        licence=_line(raw.get("license_expression", "")) or _licence(raw.get("license", "")),
        keywords=_lines(raw.get("keywords", ())),
        authors=_people(raw.get("author", ""), raw.get("author_email", "")),
        maintainers=_people(raw.get("maintainer", ""), raw.get("maintainer_email", "")),
        classifiers=_lines(raw.get("classifiers", ())),
        extras=_lines(raw.get("provides_extra", ())),
        dependencies=tuple(_dependency(line) for line in _lines(raw.get("requires_dist", ()))),
        project_urls=tuple((_line(label), _line(url)) for label, url in urls[:_ITEMS] if _line(url)),
        description=_description(text, raw),
        description_type=_line(raw.get("description_content_type", "")).partition(";")[0].strip().lower(),
    )


def _description(text: bytes, raw: RawMetadata) -> str:
    """The body after the headers, or the older header Description, whose lines may begin with `|`."""
    unified = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    body = unified.partition(b"\n\n")[2][: 4 * _DESCRIPTION].decode("utf-8", "replace")
    if not body.strip():
        lines = raw.get("description", "").splitlines()
        body = "\n".join(
            line.lstrip().removeprefix("|") if "|" in line[:9] else line.strip() for line in lines
        )
    return "" if body.strip() == _UNKNOWN else body[:_DESCRIPTION].strip("\n")


def _line(text: str) -> str:
    """The text as one line of printable characters."""
    line = shown_line(text[:_LINE], _LINE)
    return "" if line == _UNKNOWN else line


def _lines(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(_line, list(values)[:_ITEMS]))))


def _licence(text: str) -> str:
    """The licence's name. Old metadata may have its whole text here, whose first line is its title."""
    first = next((line for line in text[:_TEXT].splitlines() if line.strip()), "")
    return _line(first)


def _pairs(lines: Iterable[str]) -> list[tuple[str, str]]:
    parts = (line.partition(",") for line in lines)
    return [(label, url) for label, _, url in parts]


def _people(names: str, addresses: str) -> tuple[Person, ...]:
    """The people of a pair of headers: `Author: A, B` and `Author-email: C <c@example.com>`."""
    listed = [_person(found) for found in _PERSON.finditer(_line(addresses))]
    named = {person.name for person in listed if person.address}
    found = [Person(name) for name in _lines(names.split(",")) if name not in named]
    return tuple(person for person in [*found, *listed][:_ITEMS] if person.name or person.address)


def _person(found: re.Match[str]) -> Person:
    name, address = (found[1] or found[2] or "").strip(), (found[3] or "").strip()
    return Person("", name) if "@" in name and not address else Person(name, address)


def _dependency(line: str) -> Dependency:
    """A requirement, in parts. What can't be parsed is shown as it is."""
    try:
        required = Requirement(line)
    except (InvalidRequirement, InvalidRequest, RecursionError):
        return Dependency(line)
    marker = str(required.marker) if required.marker is not None else ""
    extra, rest = _extra_in(marker)
    extras = f"[{','.join(sorted(required.extras))}]" if required.extras else ""
    address = f"@ {required.url}" if required.url else str(required.specifier)
    return Dependency(f"{required.name}{extras}", address, rest, extra)


def _extra_in(marker: str) -> tuple[str, str]:
    """The extra of a marker that ends in `extra == "…"`, and the rest; "" and the marker for another one."""
    before, found, name = marker.rpartition('extra == "')
    if not found or name.count('"') != 1 or not name.endswith('"'):
        return "", marker
    rest = before.removesuffix(" and ") if before.endswith(" and ") else before
    if rest and (rest == before or (" or " in rest and not _is_bracketed(rest))):
        return "", marker
    return name[:-1], rest


def _is_bracketed(text: str) -> bool:
    return text.startswith("(") and text.endswith(")") and "(" not in text[1:]
