"""`pyoci explain`: what an index serves of a requirement, what not, and why."""

from __future__ import annotations

from typing import Any

import click

from pyoci.cli import schema
from pyoci.cli.output import FILE, Output, day, file_document, timestamp
from pyoci.cli.verb import verb
from pyoci.library import Explanation, Index, WithheldFile, explain

_FILE = schema.record(
    "A file.",
    **FILE["properties"],
    served=schema.flag("Whether the index serves it."),
    rule=schema.nullable(schema.text("The rule that withholds it, or would withhold it.")),
    reason=schema.nullable(schema.text("The reason of the rule.")),
    until=schema.nullable(schema.moment("When it will be old enough to be served.")),
)
_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    project=schema.text("The normalised name of the project."),
    origin=schema.nullable(
        schema.text("Where the project comes from: registry, or upstream for another package index.")
    ),
    mode=schema.nullable(schema.text("The mode of the rules for it, enforce or report; null without rules.")),
    quarantine=schema.nullable(schema.text("Why upstream has quarantined the project; null if it hasn't.")),
    latest=schema.nullable(
        schema.text(
            "The newest version that is served, and neither yanked nor a pre-release, else the next best."
        )
    ),
    files=schema.listed("The files that fit the requirement; those that are served come first.", _FILE),
)


@verb(
    examples=(
        "pyoci explain https://pypi.example.com/simple/ flask",
        "pyoci explain https://pypi.example.com/simple/ 'flask>=3' --json",
    ),
    document=_DOCUMENT,
    indexes=("index",),
)
@click.argument("requirement")
def command(output: Output, index: Index, requirement: str) -> None:
    """List the files of REQUIREMENT that INDEX serves, and those that the rules of the server withhold.

    REQUIREMENT is a project, with a version specifier or without. Pre-releases are listed; extras and
    markers are ignored.
    """
    found = explain(index, requirement)
    output.show(_document(index, found), lambda: _print(output, found))


def _document(index: Index, found: Explanation) -> dict[str, Any]:
    rules = {each.file.filename: each for each in found.withheld}
    served = {file.filename for file in found.project.files}
    files = [
        *found.project.files,
        *(each.file for each in found.withheld if each.file.filename not in served),
    ]
    return {
        "index": index.address,
        "project": found.project.name,
        "origin": found.origin,
        "mode": found.mode,
        "quarantine": found.quarantine,
        "latest": found.project.latest,
        "files": [
            {
                **file_document(file),
                "served": file.filename in served,
                **_rule(rules.get(file.filename)),
            }
            for file in files
        ],
    }


def _rule(withheld: WithheldFile | None) -> dict[str, str | None]:
    if withheld is None:
        return {"rule": None, "reason": None, "until": None}
    return {"rule": withheld.rule, "reason": withheld.reason, "until": timestamp(withheld.until)}


def _print(output: Output, found: Explanation) -> None:
    rules = {each.file.filename: each for each in found.withheld}
    served = {file.filename for file in found.project.files}
    # Withheld files come first: a project may have thousands of others.
    rows = [
        (each.file.filename, day(each.file.upload_time), "withheld", f"{each.rule}: {each.reason}")
        for each in found.withheld
        if each.file.filename not in served
    ]
    for file in found.project.files:
        would = rules.get(file.filename)
        state = "served" if would is None else "would be withheld"
        yanked = "" if file.yanked is None else f"yanked: {file.yanked}" if file.yanked else "yanked"
        why = yanked if would is None else f"{would.rule}: {would.reason}"
        rows.append((file.filename, day(file.upload_time), state, why))
    output.table(("FILE", "PUBLISHED", "STATE", "WHY"), rows)
    origin = {"registry": "from the registry", "upstream": "from upstream"}.get(found.origin or "", "")
    latest = f"{found.project.latest} is the newest version" if found.project.latest else "nothing is served"
    rules_note = {"enforce": "rules are enforced", "report": "rules only report"}.get(found.mode or "")
    if found.quarantine:
        output.note(found.quarantine)
    output.note("; ".join(part for part in (f"{latest} {origin}".strip(), rules_note) if part))
