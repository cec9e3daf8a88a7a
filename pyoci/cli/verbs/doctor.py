"""`pyoci doctor`: what a registry can do, and what that means for PyOCI."""

from __future__ import annotations

import click

from pyoci.cli import schema
from pyoci.cli.output import Output
from pyoci.cli.verb import verb
from pyoci.library import Index
from pyoci.library.doctor import examine

_DOCUMENT = schema.record(
    index=schema.text("The address of the namespace."),
    findings=schema.listed(
        "The checks, in the order in which they were made.",
        schema.record(
            check=schema.text("What was examined, such as `reading`."),
            outcome=schema.text("good, limited or bad: PyOCI can't work there."),
            answer=schema.text("What the registry answered."),
            meaning=schema.text("What that means for PyOCI."),
        ),
    ),
)


@verb(
    examples=("pyoci doctor ghcr.io/acme", "pyoci doctor registry.example:5000/acme --write --json"),
    document=_DOCUMENT,
    indexes=("index",),
)
@click.option("--write", is_flag=True, help="Also test writes, in a separate repository.")
def command(output: Output, index: Index, write: bool) -> int:
    """Examine the registry and the namespace of INDEX with your credentials.

    The command tests whether the registry can be reached, how it requests credentials, whether you may read
    and publish, and whether it lists repositories and referrers. Without --write it starts an upload and
    cancels it, and stores nothing. --write tests lag, redirects, mounts and deletion, in repositories named
    `pyoci-doctor-` and a number, and deletes its data again; some registries keep the empty repositories. The
    exit code is 1 if PyOCI can't work with the registry.
    """
    findings = list(examine(index, write=write))
    document = {
        "index": index.address,
        "findings": [
            {
                "check": each.check,
                "outcome": each.outcome,
                "answer": each.answer,
                "meaning": each.meaning,
            }
            for each in findings
        ],
    }
    rows = [(each.check, each.outcome, each.answer, each.meaning) for each in findings]
    output.show(document, lambda: output.table(("CHECK", "OUTCOME", "ANSWER", "MEANING"), rows))
    return 1 if any(each.outcome == "bad" for each in findings) else 0
