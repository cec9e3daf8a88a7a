"""RulesFile: the rules in a TOML file, read again when the file changes."""

from __future__ import annotations

import os
import threading
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyoci.distributions.selectors import Selector, Selectors
from pyoci.events import Events
from pyoci.upstream.rules import KINDS, ListEntry, MinAge, Rules, age_text
from pyoci.upstream.shared_content import SharedContent

_SIZE = 4 * 1024 * 1024  # bytes
_SELECTORS = 50_000  # in one list
_PATTERNS = 2000  # in all lists together
_ENTRIES = 1000  # of the block list, or of the allow list
_REASON = 300  # characters; a message has 500
_SHOWN = 80  # characters of a wrong value that a message repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the settings say beside the file: `PYOCI_UPSTREAM_MIN_AGE`, whether there is a database of
    malware, and whether this server serves upstream's files, without which rules can't be enforced.
    """

    min_age: MinAge | None = None
    has_malware: bool = False
    serves_files: bool = True


def read_rules(text: str, settings: Circumstances) -> Rules:
    """The rules in a TOML document. Raises ValueError with a sentence about the first mistake."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"this is not TOML: {exc}") from None
    _check_keys(document, {"mode", "contact", "min-age", "block", "allow", "malware"}, "")
    mode = document.get("mode", "enforce")
    if mode not in ("enforce", "report"):
        raise ValueError(f"mode: {_shown(mode)} is not valid; expected enforce or report")
    contact = document.get("contact", "")
    rules = Rules(
        enforced=mode == "enforce",
        min_age=_min_age(document, settings.min_age),
        block=_entries(document, "block"),
        allow=_entries(document, "allow"),
        malware_exceptions=_malware_exceptions(document, settings),
        contact=_sentence(contact, "contact") if contact != "" else "",
    )
    _check_patterns(rules)
    return checked(rules, settings)


def _check_patterns(rules: Rules) -> None:
    lists = [entry.selectors for entry in (*rules.block, *rules.allow)]
    ages = [rules.min_age.exceptions] if rules.min_age is not None else []
    count = sum(each.patterns for each in (*lists, *ages, rules.malware_exceptions))
    if count > _PATTERNS:
        raise ValueError(f"the rules have {count} patterns; expected at most {_PATTERNS}, names not counted")


def checked(rules: Rules, settings: Circumstances) -> Rules:
    """The rules, if they can be enforced. Raises ValueError."""
    if rules.enforced and not settings.serves_files:
        raise ValueError(
            "rules can't be enforced on files that clients download elsewhere;"
            ' expected PYOCI_UPSTREAM_FILES=proxy or store, or mode = "report" in PYOCI_UPSTREAM_RULES'
        )
    return rules


def _min_age(document: Mapping[str, Any], default: MinAge | None) -> MinAge | None:
    if "min-age" not in document:
        return default
    table = _table(document, "min-age", {"age", "without-time", "except"})
    try:
        found = MinAge.parse(str(table["age"])) if "age" in table else default
    except ValueError as exc:
        raise ValueError(f"min-age.age: {exc}") from None
    if found is None:
        raise ValueError("min-age.age is missing; expected an age, as 7d, here or in PYOCI_UPSTREAM_MIN_AGE")
    without = table.get("without-time", "withhold")
    if without not in ("withhold", "serve"):
        raise ValueError(f"min-age.without-time: {_shown(without)} is not valid; expected withhold or serve")
    exceptions = _selectors(table.get("except", []), "min-age.except", Selector.parse_exact)
    return replace(found, serve_without_time=without == "serve", exceptions=exceptions)


def _malware_exceptions(document: Mapping[str, Any], settings: Circumstances) -> Selectors:
    if "malware" not in document:
        return Selectors()
    table = _table(document, "malware", {"except"})
    if not settings.has_malware:
        raise ValueError("malware: there is no database of malware; expected PYOCI_OSV_DUMP with it")
    return _selectors(table.get("except", []), "malware.except", Selector.parse_exact)


def _entries(document: Mapping[str, Any], key: str) -> tuple[ListEntry, ...]:
    tables = document.get(key, [])
    if not isinstance(tables, list) or len(tables) > _ENTRIES:
        raise ValueError(f"{key}: expected tables, [[{key}]], at most {_ENTRIES}")
    return tuple(_entry(table, f"{key}[{number}]") for number, table in enumerate(tables, 1))


def _entry(table: object, where: str) -> ListEntry:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: {_shown(table)} is not a table")
    _check_keys(table, {"projects", "kinds", "reason"}, f"{where}.")
    for key in ("projects", "reason"):
        if key not in table:
            raise ValueError(f"{where}.{key} is missing")
    kinds = table.get("kinds", [])
    if not isinstance(kinds, list) or not all(kind in KINDS for kind in kinds):
        raise ValueError(f"{where}.kinds: {_shown(kinds)} is not valid; expected a list of sdist and wheel")
    if not table["projects"]:
        raise ValueError(f"{where}.projects is empty; expected names or patterns")
    selectors = _selectors(table["projects"], f"{where}.projects", Selector.parse)
    return ListEntry(selectors, frozenset(kinds), _sentence(table["reason"], f"{where}.reason"))


def _selectors(value: object, where: str, parse: Callable[[str], Selector]) -> Selectors:
    if not isinstance(value, list) or len(value) > _SELECTORS:
        raise ValueError(f"{where}: {_shown(value)} is not valid; expected a list, at most {_SELECTORS} long")
    found = []
    for each in value:
        try:
            found.append(parse(each if isinstance(each, str) else ""))
        except ValueError as exc:
            raise ValueError(f"{where}: {exc}") from None
    return Selectors.of(found)


def _sentence(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value.strip()) <= _REASON:
        raise ValueError(
            f"{where}: {_shown(value)} is not valid; expected one line of at most {_REASON} characters"
        )
    return value.strip()


def _table(document: Mapping[str, Any], key: str, keys: set[str]) -> dict[str, Any]:
    table = document[key]
    if not isinstance(table, dict):
        raise ValueError(f"{key}: {_shown(table)} is not a table; expected [{key}]")
    _check_keys(table, keys, f"{key}.")
    return table


def _check_keys(table: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{where}{key[:_SHOWN]} is not known; expected {', '.join(sorted(known))}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class RulesFile:
    """The rules that are in force. One for the process.

    A changed file takes effect with the next look. While it is missing or has a mistake, the rules that were
    read before stay in force, also in a worker that is forked meanwhile.
    """

    def __init__(self, path: Path | None, settings: Circumstances, events: Events | None = None) -> None:
        """Without a `path` the rules are those of the settings alone. Raises ValueError and OSError."""
        self._path, self._settings = path, settings
        self._events = events or Events()
        self._guard = threading.Lock()
        if path is None:
            rules = checked(Rules(min_age=settings.min_age), settings)
        else:
            self._signature = _signature(path)
            self._content, rules = self._read(path)
            self._accepted = SharedContent()
            self._accepted.write(self._content)
        self._current = rules, 0

    def age(self, now: float) -> str | None:
        """How long ago the file was changed, `3d`; None if there is none."""
        if self._path is None or not self._signature:
            return None
        return age_text(now - self._signature[2] / 1e9)

    def current(self) -> tuple[Rules, int]:
        """The rules, and a number that differs after each change."""
        if self._path is not None:
            self._refresh(self._path)
        return self._current

    def _refresh(self, path: Path) -> None:
        signature = _signature(path)
        if signature == self._signature:
            return
        with self._guard:
            if signature == self._signature:
                return
            self._signature = signature
            try:
                content, rules = self._read(path, may_be_empty=False)
            except (ValueError, OSError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) else str(exc)
                self._events.error("upstream", "rules not read", reason=reason)
                self._events.count("rules", "broken")
                self._take_accepted()
            else:
                self._accepted.write(content)
                self._content, self._current = content, (rules, self._current[1] + 1)
                self._events.info("upstream", "rules read", mode=rules.mode)
                self._events.count("rules", "done")

    def _take_accepted(self) -> None:
        """The rules that another worker has read before the file broke: this one may know older ones."""
        content = self._accepted.read()
        if content and content != self._content:
            rules = read_rules(content.decode(), self._settings)
            self._content, self._current = content, (rules, self._current[1] + 1)

    def _read(self, path: Path, *, may_be_empty: bool = True) -> tuple[bytes, Rules]:
        """The file's content, and the rules in it."""
        if path.exists() and not path.is_file():  # to open a pipe would wait for whoever writes to it
            raise ValueError("this is no file; expected one")
        with path.open("rb") as file:
            content = file.read(_SIZE + 1)
        if len(content) > _SIZE:
            raise ValueError(f"the file has more than {_SIZE} bytes")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise ValueError("the file is not UTF-8") from None
        if not may_be_empty and not text.strip():  # so is one that an editor has only begun to write
            raise ValueError("the file is empty; expected rules, or a comment if there are none")
        return content, read_rules(text, self._settings)


def _signature(path: Path) -> tuple[int, ...]:
    """Differs after each change of a file; empty if the file can't be found."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
