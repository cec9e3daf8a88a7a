"""What an index serves of a requirement, what its rules withhold, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from pyoci.errors import InvalidRequest, NotFound
from pyoci.library.models import Explanation, File, Project, WithheldFile, moment
from pyoci.net.messages import Answer
from pyoci.simple_api import model, reading

if TYPE_CHECKING:
    from pyoci.library.index import Index

_TEXT = 500  # characters of a reason


def explain(index: Index, requirement: str) -> Explanation:
    """What an index serves of a requirement, `flask>=3`, and what it withholds. Pre-releases are included;
    extras and markers are ignored. Raises InvalidRequest and NotFound.
    """
    try:
        wanted = Requirement(requirement)
    except (InvalidRequirement, ValueError, RecursionError):
        wanted = None
    if wanted is None or wanted.url:
        raise InvalidRequest(
            f"{requirement[:100]!a} is no requirement; expected a project, with a version specifier or"
            " without, as flask>=3"
        )
    whole = index.explain(wanted.name)
    found = replace(
        whole,
        project=Project(
            whole.project.name, tuple(file for file in whole.project.files if _fits(file, wanted))
        ),
        withheld=tuple(each for each in whole.withheld if _fits(each.file, wanted)),
    )
    if len(wanted.specifier) and not found.project.files and not found.withheld:
        raise NotFound(f"{whole.project.name} has no version {wanted.specifier} in {index.address}")
    return found


def _fits(file: File, wanted: Requirement) -> bool:
    if not len(wanted.specifier):
        return True
    return file.version is not None and wanted.specifier.contains(Version(file.version), prereleases=True)


def read(answer: Answer, name: str, url: str, host: str) -> Explanation:
    """A page of a PyOCI server with `_rules` and `_withheld`. Raises ProtocolError."""
    document = reading.read_document(answer.body, host)
    page = reading.read_page(document, name, url, host)
    project = Project(page.name, tuple(File.listed(page.name, file) for file in page.files))
    rules, withheld = document.get("_rules"), document.get("_withheld")
    origin = answer.headers.get("x-pyoci-origin")
    known = rules if isinstance(rules, dict) else {}
    mode = known.get("mode")
    return Explanation(
        project,
        origin if origin in ("registry", "upstream") else None,
        mode if mode in ("enforce", "report") else None,
        _line(known.get("quarantine")) or None,
        tuple(_withheld(withheld, name, url)) if isinstance(withheld, list) else (),
    )


def _withheld(entries: list[Any], name: str, url: str) -> Iterator[WithheldFile]:
    """The withheld files. Entries that can't be read are left out."""
    for entry in entries:
        file = reading.read_file(entry, url)
        if file is not None:
            until = model.time_text(entry.get("_until"))
            rule, reason = _line(entry.get("_rule")), _line(entry.get("_reason"))
            yield WithheldFile(File.listed(name, file), rule, reason, moment(until))


def _line(value: object) -> str:
    return " ".join(value.split())[:_TEXT] if isinstance(value, str) else ""
