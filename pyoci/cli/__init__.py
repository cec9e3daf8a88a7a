"""The `pyoci` command. A module of `verbs` has one verb, and is imported when that verb is used."""

from pyoci.cli.commands import main

__all__ = ["main"]
