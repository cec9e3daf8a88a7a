"""Reads a Dockerfile: its stages, and each one's instructions in order. Knows what ours uses, and no more."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAMES = {
    "CMD",
    "COPY",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
    "STOPSIGNAL",
    "USER",
    "WORKDIR",
}


@dataclass(frozen=True, slots=True)
class Instruction:
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Of COPY, ENV, LABEL: split as a shell would."""
        return shlex.split(self.text)

    @property
    def command(self) -> list[str]:
        """Of CMD and HEALTHCHECK, in exec form: the program and its arguments."""
        found = json.loads(self.text[self.text.index("[") :])
        assert isinstance(found, list)
        return found

    @property
    def variables(self) -> dict[str, str]:
        """Of ENV and LABEL."""
        return dict(word.split("=", 1) for word in self.words)


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    image: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name == name]

    def last(self, name: str) -> Instruction:
        return self.all(name)[-1]


def read_dockerfile(path: Path) -> list[Stage]:
    """Raises AssertionError at what this reader doesn't know."""
    stages: list[Stage] = []
    for instruction in _instructions(path.read_text()):
        if instruction.name == "FROM":
            image, _, name = instruction.text.partition(" AS ")
            stages.append(Stage(name, image, ()))
        else:
            last = stages.pop()
            stages.append(Stage(last.name, last.image, (*last.instructions, instruction)))
    return stages


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in filter(str.strip, joined.splitlines()):
        name, _, rest = line.partition(" ")
        assert name in _NAMES, f"tests/dockerfile.py doesn't know {line!r}"
        yield Instruction(name, rest.strip())
