"""How a table of settings is declared, read from the environment, and described in docs/settings.rst."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, TypeVar

from pyoci.errors import PyOCIError

SHOWN = 80  # characters of a wrong value that a message repeats
_DECLARATION = "setting"  # the key in a field's metadata
_PREFIXES = ("PYOCI", "OTLP")  # most variables start with one of these

Value = TypeVar("Value")
Unset = TypeVar("Unset")


class WrongSettings(Exception):
    """The environment can't be used. The message has a line for each mistake."""

    @classmethod
    def of_server(cls, *mistakes: str) -> Self:
        """A server can't start because of these mistakes."""
        return cls("PyOCI can't start with these settings:\n  " + "\n  ".join(mistakes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """The description of one or more environment variables. `meaning` is in reStructuredText.

    `default` is the value that has the same effect as leaving the variable unset. If there is no such value,
    `unset` describes what happens without the variable.
    """

    names: tuple[str, ...]
    meaning: str
    default: str = ""
    unset: str = ""


@dataclass(frozen=True, slots=True)
class Topic:
    """A section of docs/settings.rst."""

    title: str
    variables: tuple[Variable, ...]
    text: str = ""  # before the variables, in reStructuredText


@dataclass(frozen=True, slots=True)
class _Declaration:
    """How the value of a setting is read. `topic` is the title of a section that begins with this setting."""

    read: Callable[[Reader], Any]
    variables: tuple[Variable, ...]
    topic: str


def setting(
    name: str, parse: Callable[[str], Value], default: str, meaning: str, *, topic: str = ""
) -> Value:
    """A field that one variable sets. `default` is text that is parsed like the variable. `parse` raises
    ValueError or PyOCIError.
    """
    variable = Variable(names=(name,), meaning=meaning, default=default)
    return combined(lambda reader: reader.get(name, parse, parse(default)), variable, topic=topic)


def optional(
    name: str,
    parse: Callable[[str], Value],
    absent: Unset,
    meaning: str,
    *,
    unset: str = "",
    topic: str = "",
    secret: bool = False,
) -> Value | Unset:
    """A field that one variable sets. Its value is `absent` if the variable is unset."""
    variable = Variable(names=(name,), meaning=meaning, unset=unset)
    return combined(lambda reader: reader.get(name, parse, absent), variable, topic=topic, secret=secret)


def combined(
    read: Callable[[Reader], Value], *variables: Variable, topic: str = "", secret: bool = False
) -> Value:
    """A field whose value depends on several variables, or on a variable and other fields. A `secret` is left
    out of reprs.
    """
    declaration = _Declaration(read, variables, topic)
    declared: Value = field(metadata={_DECLARATION: declaration}, repr=not secret)
    return declared


def declarations(table: type[Any]) -> dict[str, _Declaration]:
    """The declared settings among the fields of the dataclass `table`, in order."""
    found = {each.name: each.metadata.get(_DECLARATION) for each in fields(table)}
    return {name: declaration for name, declaration in found.items() if declaration is not None}


def topics(table: type[Any]) -> tuple[Topic, ...]:
    """The descriptions of all variables, by section."""
    found: dict[str, list[Variable]] = {}
    for declaration in declarations(table).values():
        title = declaration.topic or next(reversed(found))
        found.setdefault(title, []).extend(declaration.variables)
    return tuple(Topic(title, tuple(variables)) for title, variables in found.items())


class Reader:
    """Reads the settings of `table` from an environment. Collects mistakes, and warnings about doubtful
    values.
    """

    def __init__(self, table: type[Any], environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.mistakes: list[str] = []
        self.warnings: list[str] = []
        self._declarations = declarations(table)
        self._values: dict[str, Any] = {}

    def values(self) -> dict[str, Any]:
        """Every setting by the name of its field."""
        return {name: self.value(name) for name in self._declarations}

    def value(self, name: str) -> Any:
        """The value of one field, for fields that depend on others."""
        if name not in self._values:
            self._values[name] = self._declarations[name].read(self)
        return self._values[name]

    def text(self, name: str) -> str:
        """The unparsed value of a variable; "" if it is unset."""
        return self.environ.get(name, "").strip()

    def get(self, name: str, parse: Callable[[str], Value], absent: Unset) -> Value | Unset:
        """The value of a variable; `absent` if the variable is unset, empty or wrong."""
        text = self.text(name)
        if not text:
            return absent
        try:
            return parse(text)
        except (ValueError, PyOCIError) as exc:
            self.mistakes += [f"{name}: {line}" for line in str(exc).splitlines()]
            return absent

    def unknown(self) -> Iterator[str]:
        """A warning for each variable that is named like a setting but isn't one."""
        described = (each.variables for each in self._declarations.values())
        known = {name for variables in described for variable in variables for name in variable.names}
        for name, value in sorted(self.environ.items()):
            if not name.upper().startswith(_PREFIXES) or name in known:
                continue
            # Kubernetes sets such variables for a service called `pyoci`.
            if not re.search(r"_SERVICE_(HOST|PORT)|_PORT_\d+_", name) and not value.startswith("tcp://"):
                hint = _nearest(name.upper(), known)
                yield f"{name[:SHOWN]} is not a setting of PyOCI and is ignored{hint}"


def _nearest(name: str, known: set[str]) -> str:
    plain = name.partition("_")[2]
    near = [plain] if plain in known else difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
