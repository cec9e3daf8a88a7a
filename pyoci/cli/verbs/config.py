"""`pyoci config`: the lines that a client's configuration needs for an index."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pyoci.cli import schema
from pyoci.cli.output import Output
from pyoci.cli.verb import verb
from pyoci.library.client_files import CLIENTS, client_files

_DOCUMENT = schema.record(
    client=schema.text("pip, uv, poetry or twine."),
    files=schema.listed(
        "Its files.",
        schema.record(
            path=schema.text("Where the file is."),
            lines=schema.text("The lines that name the index."),
            written=schema.flag("Whether lines were added; false without --write, and if it had them."),
        ),
    ),
)


@verb(
    examples=(
        "pyoci config pip https://pypi.example.com/ghcr.io/acme/",
        "pyoci config uv https://pypi.example.com/ghcr.io/acme/ --write",
        "pyoci config twine https://pypi.example.com/tools/ --name tools --write",
    ),
    document=_DOCUMENT,
)
@click.argument("client", type=click.Choice(CLIENTS))
@click.argument("index", metavar="URL")
@click.option("--name", help="The name of the index for the client; by default the end of the URL.")
@click.option("--write", is_flag=True, help="Add the lines to the client's configuration files.")
def command(output: Output, client: str, index: str, name: str | None, write: bool) -> None:
    """Print the configuration with which CLIENT uses the index of a PyOCI server at URL.

    No line has a password: clients ask keyring for it, see `pyoci login`. pip and uv then ask no other index,
    so the server should also serve PyPI's packages. --write adds the lines to the user's configuration files,
    and poetry's source to ./pyproject.toml. It changes no existing line: if a setting has another value, the
    command ends with an error.
    """
    files = client_files(client, index, name, os.environ, Path.cwd())
    for file in files if write else ():
        file.check()  # so that no file is written if another can't be
    written = {file.path: file.write() for file in files if write}
    document = {
        "client": client,
        "files": [
            {"path": str(file.path), "lines": file.lines(), "written": written.get(file.path, False)}
            for file in files
        ],
    }

    def for_people() -> None:
        for file in files:
            if write:
                done = "has the lines now" if written[file.path] else "had the lines already"
                output.line(f"{file.path} {done}")
            else:
                output.note(f"{file.path}:")
                output.text(file.lines())

    output.show(document, for_people)
