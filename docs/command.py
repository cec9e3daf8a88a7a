"""Writes command.rst beside it from pyoci/cli: `.venv/bin/python docs/command.py`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from pyoci.cli.commands import VERBS, command
from pyoci.cli.schema import Schema
from pyoci.cli.verb import Verb

_HEAD = """\
.. Made from pyoci/cli by docs/command.py; edit the verbs there, and run docs/command.py again.

The command
===========

``pyoci`` works on a package index without a server: it connects directly to the registry. Programs can use
`the library <library.rst>`_ for the same purpose. ``python -m pyoci`` is the same command.

INDEX is one of these:

* a registry and a namespace: ``ghcr.io/acme``, ``http://127.0.0.1:5000/acme``. Without ``http://`` it is
  https, unless the host is this machine.
* a name in ``PYOCI_INDEXES``, or ``simple`` for ``PYOCI_DEFAULT_INDEX``. The command reads `the settings
  <settings.rst>`_ from its environment.
* ``local/main``: a namespace of the embedded registry in ``PYOCI_EMBEDDED``, or in ``./pyoci-data``.
* ``oci:DIR``: a folder of OCI image layouts, for verbs that support it.
* the URL of a PyOCI server: ``https://pypi.example.com/ghcr.io/acme/``. ``publish``, ``list``, ``show``,
  ``explain``, ``search``, ``download``, ``yank``, ``unyank``, ``delete`` and ``status`` use its HTTP API.
  The other verbs need the registry itself, and report this. To find out whether a URL is a server or a
  registry, the command sends a request without credentials.

Credentials
-----------

The command looks for credentials for the host of INDEX in this order:

1. ``--username``, with ``--password-stdin``, which reads the password or token from stdin;
2. ``PYOCI_USERNAME`` and ``PYOCI_PASSWORD``;
3. the login that ``docker login`` or a similar program has stored: in ``REGISTRY_AUTH_FILE``, and in
   ``~/.docker/config.json`` or the folder ``DOCKER_CONFIG``, with the credential helpers that these files
   name, and identity tokens;
4. the keyring, if the extra is installed (``pip install '.[keyring]'`` in a checkout of PyOCI);
5. ``~/.netrc``, with ``--netrc``.

So ``docker login ghcr.io`` is enough for ``ghcr.io/acme``. A credential helper and the keyring have 30
seconds to answer. Passwords are never printed. If a registry refuses a login (401), the error names the
source of the login.

Output and exit codes
---------------------

A verb prints tables and lines for people. With ``--json`` after the verb it prints one JSON document to
stdout, and everything else to stderr. The document of each verb is described below. Times are in UTC; null
stands for an unknown value. Progress bars are shown if stdout and stderr are terminals. ``NO_COLOR=1`` turns
colours off. An error is one sentence on stderr.

====  ===================================================================
code  meaning
====  ===================================================================
0     done
1     something failed
2     wrong usage: an option, an address, a setting
3     not allowed: no credentials, wrong ones, or insufficient rights
4     not found: a project, a version, a file
130   interrupted with Ctrl-C; an upload that was running is not stored
====  ===================================================================

Completion
----------

.. not run: it changes the shell of whoever runs it

.. code-block:: sh

   eval "$(_PYOCI_COMPLETE=bash_source pyoci)"

This line in ``~/.bashrc`` completes verbs and options. For zsh and fish it is ``zsh_source`` and
``fish_source``."""


def written() -> str:
    """The text of command.rst."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from _HEAD.splitlines()
    context = click.Context(command, info_name="pyoci")
    for name in VERBS:
        verb = command.get_command(context, name)
        assert isinstance(verb, Verb)
        yield from _section(verb, click.Context(verb, info_name=f"pyoci {name}"))


def _section(verb: Verb, context: click.Context) -> Iterator[str]:
    title = f"pyoci {verb.name}"
    yield from ("", title, "-" * len(title), "", ".. code-block:: text", "")
    yield f"   {title} {' '.join(verb.collect_usage_pieces(context))}"
    for paragraph in (verb.help or "").split("\n\n"):
        yield ""
        yield from _wrapped(_escaped(" ".join(paragraph.split())))
    options = [each for each in verb.params if isinstance(each, click.Option)]
    if options:
        yield ""
    for option in options:
        spelled, meaning = option.get_help_record(context) or ("", "")
        yield from _wrapped(f"* ``{spelled}``: {_escaped(meaning)}", "  ")
    yield from ("", ".. code-block:: text", "")
    yield from (f"   {example}" for example in verb.examples)
    if verb.document:
        yield from ("", "The document of ``--json``:", "")
        for path, schema in _fields(verb.document, ""):
            kind = schema["type"] if isinstance(schema["type"], str) else " or ".join(schema["type"])
            yield from _wrapped(f"* ``{path}`` ({kind}): {_escaped(schema['description'])}", "  ")


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Every field of a document, by its path."""
    for name, field in schema.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        yield place, field
        yield from _fields(field, place)
        if "items" in field:
            yield from _fields(field["items"], f"{place}[]")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, 112, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _escaped(text: str) -> str:
    """Plain text as reStructuredText: `code` is literal, and nothing else is markup."""
    parts = re.split(r"`([^`]+)`", text)
    plain = (re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2])
    code = (f"``{part}``" for part in parts[1::2])
    return "".join(piece for pair in zip(plain, [*code, ""], strict=True) for piece in pair)


if __name__ == "__main__":
    Path(__file__).with_name("command.rst").write_text(written())
