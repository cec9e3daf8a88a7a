"""Writes settings.rst beside it from pyoci/config: `.venv/bin/python docs/settings.py`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from pyoci.config.client import COMMAND
from pyoci.config.environment import Variable
from pyoci.config.settings import TOPICS

_HEAD = """\
.. Made from pyoci/config by docs/settings.py; edit pyoci/config, and run docs/settings.py again.

Settings
========

All settings are environment variables. All of them are optional, and an empty variable counts as unset.
PyOCI reads them once, at the start. With a wrong value it doesn't start, and prints a line for each mistake,
with the expected value.
"""


def written() -> str:
    """The text of settings.rst."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from _HEAD.splitlines()
    for topic in (*TOPICS, COMMAND):
        yield from ("", topic.title, "-" * len(topic.title))
        if topic.text:
            yield from ("", *topic.text.splitlines())
        for variable in topic.variables:
            yield from _section(variable)


def _section(variable: Variable) -> Iterator[str]:
    """Each setting has an anchor of its own, `settings.rst#pyoci-max-body` for instance.

    A title that is one name makes that anchor; each name of a longer title has a target.
    """
    if len(variable.names) > 1:
        yield ""
        yield from (f".. _{name}:" for name in variable.names)
    title = ", ".join(variable.names)
    yield from ("", title, "~" * len(title), "")
    if default := f"``{variable.default}``" if variable.default else variable.unset:
        yield from textwrap.wrap(f"Default: {default}.", 112)
        yield ""
    yield from variable.meaning.splitlines()


if __name__ == "__main__":
    Path(__file__).with_name("settings.rst").write_text(written())
