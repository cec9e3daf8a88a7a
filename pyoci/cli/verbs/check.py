"""`pyoci check`: whether everything is there, and repairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click

from pyoci.cli import schema
from pyoci.cli.output import Output, counted
from pyoci.cli.progress import moving_bytes
from pyoci.cli.verb import open_source, verb
from pyoci.library import CheckedProject, Index, Problem, Repaired, operations

_PROBLEM = schema.record(
    "Something that is wrong.",
    tag=schema.text("The tag that it is under; empty where the whole project is meant."),
    what=schema.text("A file name, a tag or the name of the project."),
    kind=schema.text("What is wrong with it: one of a few fixed texts, such as `file is lost`."),
    detail=schema.text("More about it, such as the registry's own words."),
    effect=schema.text("What a user would see."),
    outcome=schema.nullable(
        schema.text("With --repair: repaired, taken out (removed from the index) or left.")
    ),
    why=schema.nullable(schema.text("Why it was left.")),
)
_DOCUMENT = schema.record(
    index=schema.text("The address of the index."),
    projects=schema.listed(
        "Every project that was checked.",
        schema.record(
            project=schema.text("Its normalised name."),
            documents=schema.number("How many documents were read."),
            blobs=schema.number("How many blobs were looked at."),
            problems=schema.listed("What is wrong; empty if nothing is.", _PROBLEM),
        ),
    ),
)
_Found = dict[Problem, Repaired]


@verb(
    examples=(
        "pyoci check ghcr.io/acme",
        "pyoci check ghcr.io/acme hello-world --deep --json",
        "pyoci check ghcr.io/acme --repair --from oci:backup",
    ),
    document=_DOCUMENT,
    indexes=("index",),
    changes=True,
    takes_netrc=True,
)
@click.argument("projects", metavar="[PROJECT]...", nargs=-1)
@click.option("--deep", is_flag=True, help="Read the bytes of every file, and compare their digests.")
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
@click.option("--from", "origin", metavar="DIR|INDEX", help="With --repair: restore lost files from here.")
@click.option("--drop-lost", is_flag=True, help="With --repair: remove files that can't be restored.")
def command(
    output: Output,
    index: Index,
    projects: tuple[str, ...],
    deep: bool,
    repair: bool,
    origin: str | None,
    drop_lost: bool,
    netrc: bool,
) -> int:
    """Check each PROJECT, or all projects, in INDEX.

    Clean-up policies and garbage collection may delete documents or blobs of a version while its tag stays.
    The check looks for each of them once. --repair writes lost manifests again, and restores lost files from
    a folder of files or from another index. If PYOCI_CATALOG names a catalogue repository, the command also
    compares it with the projects, and --repair brings it up to date. The exit code is 1 if something is wrong
    and was not repaired.
    """
    if (origin is not None or drop_lost) and not repair:
        raise click.UsageError("--from and --drop-lost need --repair")
    with ExitStack() as opened:
        source = _source(origin, opened, netrc=netrc)  # first: a check takes long
        progress = opened.enter_context(moving_bytes(output, "checking"))
        with closing(operations.check(index, projects, deep=deep, progress=progress)) as checking:
            found = [each for each in checking if each.has_package]
        checked = sorted(found, key=lambda each: each.project)
        problems = [problem for each in checked for problem in each.problems]
        repaired: _Found = {}
        if repair:
            done = operations.repair(index, problems, source=source, drop_lost=drop_lost, progress=progress)
            repaired = {each.problem: each for each in _audited(output, index, done)}
    document = {
        "index": index.address,
        "projects": [_document(each, repaired) for each in checked],
    }
    output.show(document, lambda: _print(output, checked, repaired))
    left = [each for each in problems if each.is_wrong and _outcome(each, repaired) in {None, "left"}]
    return 1 if left else 0


def _source(origin: str | None, opened: ExitStack, *, netrc: bool) -> Index | Path | None:
    """Where lost files come from. An index is closed with `opened`."""
    if origin is None:
        return None
    folder = Path(origin)
    return folder if folder.is_dir() else opened.enter_context(open_source(origin, netrc=netrc))


def _audited(output: Output, index: Index, repaired: Iterable[Repaired]) -> Iterator[Repaired]:
    """The same repairs, each with its audit line."""
    for each in repaired:
        problem, left = each.problem, each.outcome == "left"
        action = "delete" if each.outcome == "taken out" else "repair"
        sha256 = (problem.entry.sha256,) if problem.entry is not None else ()
        facts = {"tag": problem.tag, "reason": each.why, "result": "left" if left else ""}
        output.audited(action, index, problem.project.normalized, problem.what, sha256=sha256, **facts)
        yield each


def _outcome(problem: Problem, repaired: _Found) -> str | None:
    return repaired[problem].outcome if problem in repaired else None


def _document(checked: CheckedProject, repaired: _Found) -> dict[str, Any]:
    return {
        "project": checked.project.normalized,
        "documents": checked.documents,
        "blobs": checked.blobs,
        "problems": [
            {
                "tag": problem.tag,
                "what": problem.what,
                "kind": problem.kind,
                "detail": problem.detail,
                "effect": problem.effect,
                "outcome": _outcome(problem, repaired),
                "why": (repaired[problem].why or None) if problem in repaired else None,
            }
            for problem in checked.problems
        ],
    }


def _print(output: Output, checked: list[CheckedProject], repaired: _Found) -> None:
    for project in checked:
        for problem in project.problems:
            where = " ".join(dict.fromkeys(filter(None, (str(project.project), problem.tag, problem.what))))
            output.line(f"{where}: {problem.kind}" + (f" ({problem.detail})" if problem.detail else ""))
            output.line(f"    {problem.effect}")
            if problem in repaired:
                why = repaired[problem].why
                output.line(f"    {repaired[problem].outcome}" + (f": {why}" if why else ""))
    count = sum(len(project.problems) for project in checked)
    documents, blobs = sum(each.documents for each in checked), sum(each.blobs for each in checked)
    looked_at = (
        counted(len(checked), "project"),
        counted(documents, "document"),
        counted(blobs, "blob"),
    )
    output.line(f"{', '.join(looked_at)}: {counted(count, 'problem') if count else 'no problems'}")
