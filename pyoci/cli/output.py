"""Output: what a verb prints: tables and lines for people, or one JSON document."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyoci.cli import schema

if TYPE_CHECKING:
    from pyoci.cli.audit import AuditLog
    from pyoci.library import File, ImportedFile, Index
    from pyoci.library.index import Audit

_DIGITS = 12  # of a digest in a table on a terminal
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class Output:
    """stdout gets the document or the table; everything else goes to stderr."""

    def __init__(self, *, as_json: bool = False, audit: AuditLog | None = None) -> None:
        self.as_json = as_json
        self._audit = audit

    def audited(self, action: str, index: Index, project: str, file: str = "", **facts: Any) -> None:
        """Write a change, or its failure, to the file of --audit."""
        self.audited_at(index.address, action, project, file, **facts)

    def audited_at(self, address: str, action: str, project: str, file: str = "", **facts: Any) -> None:
        """The same for an address, or for the directory of the embedded registry."""
        if self._audit is not None:
            self._audit.write(action, address, project, file, **facts)

    def auditing(self, index: Index) -> Audit:
        """`audited` for operations that write to `index` in several threads."""
        return lambda action, project, file="", **facts: self.audited(action, index, project, file, **facts)

    def show(self, document: dict[str, Any], for_people: Callable[[], None]) -> None:
        """Print the verb's one document as JSON, or what people get instead."""
        if self.as_json:
            text = json.dumps(document, indent=2, ensure_ascii=False)
            # A lone surrogate is no text: names of files and an index's JSON may have one.
            click.echo(text.encode("utf-8", "replace").decode())
        else:
            for_people()

    def line(self, text: str = "") -> None:
        """A line on stdout."""
        click.echo(printable(text))

    def lines(self, texts: Iterable[str]) -> None:
        """Lines on stdout."""
        for text in texts:
            self.line(text)

    def text(self, text: str) -> None:
        """Several lines of our own on stdout."""
        click.echo(text)

    def digest(self, sha256: str | None) -> str:
        """A digest for a table: on a terminal its first digits, elsewhere all of it; "" if it isn't known."""
        if sha256 is None:
            return ""
        return f"{sha256[:_DIGITS]}…" if sys.stdout.isatty() else sha256

    def note(self, text: str) -> None:
        """A line on stderr."""
        click.echo(printable(text), err=True)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()
    ) -> None:
        """A table. Columns named in `right` are aligned to the right. Where stdout is no terminal, lines are
        as long as they are.
        """
        cells = [[printable(cell) for cell in row] for row in rows]
        if sys.stdout.isatty():
            _rich_table(columns, cells, right)
            return
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for row in (list(columns), *cells):
            aligned = (
                cell.rjust(width) if column in right else cell.ljust(width)
                for column, cell, width in zip(columns, row, widths, strict=True)
            )
            click.echo("  ".join(aligned).rstrip())


def _rich_table(columns: Sequence[str], rows: list[list[str]], right: Collection[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def counted(number: int, one: str) -> str:
    """A number of things: `1 file`, `2 files`."""
    return f"{number} {one if number == 1 else f'{one}s'}"


def present(number: int) -> str:
    """How many things needed no work: `1 was there already`, `2 were there already`."""
    return f"{number} {'was' if number == 1 else 'were'} there already"


def size(count: int | None) -> str:
    """A number of bytes as people read it: `1.5 MB`; "" if it isn't known."""
    if count is None:
        return ""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return counted(count, "byte") if unit == 0 else f"{value:.3g} {_UNITS[unit]}"


def day(moment: datetime | None) -> str:
    """A time as people read it, in UTC; "" if it isn't known."""
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def timestamp(moment: datetime | None) -> str | None:
    """A time as documents have it, in UTC; None if it isn't known."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def file_sizes(files: Iterable[File]) -> dict[Path, int]:
    """The sizes of files by name, as far as they are known."""
    return {Path(file.filename): file.size or 0 for file in files}


FILE = schema.record(
    "A file.",
    filename=schema.text("The name of the wheel or sdist."),
    version=schema.nullable(schema.text("Its version; null for old file names that have none.")),
    size=schema.nullable(schema.number("Bytes.")),
    sha256=schema.nullable(schema.text("The digest of the file, in hex.")),
    upload_time=schema.nullable(schema.moment("When it was published.")),
    requires_python=schema.nullable(schema.text("The versions of Python that it is for.")),
    yanked=schema.flag("Whether it is yanked."),
    yanked_reason=schema.nullable(schema.text("The reason, where one was given.")),
    metadata_sha256=schema.nullable(schema.text("The digest of METADATA, where the index offers it.")),
)


def file_document(file: File) -> dict[str, Any]:
    """A file as every verb's document has it; `FILE` is its schema."""
    return {
        "filename": file.filename,
        "version": file.version,
        "size": file.size,
        "sha256": file.sha256,
        "upload_time": timestamp(file.upload_time),
        "requires_python": file.requires_python,
        "yanked": file.yanked is not None,
        "yanked_reason": file.yanked or None,
        "metadata_sha256": file.core_metadata,
    }


def print_imported(output: Output, files: Sequence[ImportedFile], word: str) -> None:
    """Print what became of the files of an import or a mirror: those with something to report, and the
    counts. `word` is what it calls a file that it has fetched.
    """
    rows = [(each.filename or each.project, str(each.outcome), each.error) for each in files if each.error]
    rows += [(each.filename, "lost", ", ".join(each.lost)) for each in files if each.lost]
    if rows:
        output.table(("FILE", "", ""), rows)
        output.line()
    counts = Counter[str](each.outcome for each in files)
    words = [f"{counted(counts['imported'], 'file')} {word}", present(counts["present"])]
    words += [f"{counts[each]} {each}" for each in ("changed", "left out", "failed") if counts[each]]
    output.line(f"{', '.join(words)}; {size(sum(each.size for each in files))} fetched")
