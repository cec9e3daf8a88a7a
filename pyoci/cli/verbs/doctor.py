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
@click.option("--write", is_flag=True, help="Also write, in a repository of its own, and delete it again.")
def command(output: Output, index: Index, write: bool) -> int:
    """Examine the registry and the namespace of INDEX with your credentials.

    Whether it can be reached, how it asks for credentials, whether you may read and publish, whether it lists
    repositories and referrers. Without --write an upload is started and cancelled, and nothing is stored.
    --write examines lag, redirects, mounts and deletion, in repositories named `pyoci-doctor-` and a number,
    and deletes what it wrote; some registries keep the empty repositories. The exit code is 1 if PyOCI can't
    work there.
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
