"""Writes images/command.svg beside it, a recording of the command: `.venv/bin/python -m docs.recording`.

The commands run for real, in a terminal of their own, against the embedded registry in a temporary directory.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.builders import make_wheel

_WIDTH = 96  # columns
_LINE_SECONDS = 0.25  # between two lines
_COMMANDS = (
    "pyoci publish local/acme dist/*",
    "pyoci list local/acme",
    "pyoci yank local/acme hello-world==1.0 --reason 'use 1.1'",
    "pyoci show local/acme hello-world",
)
_STYLE = """
@keyframes shown {{ from {{ opacity: 0 }} to {{ opacity: 1 }} }}
@media (prefers-reduced-motion: no-preference) {{ {rules} }}
"""


def run(command: str, folder: Path) -> str:
    """What the command prints in a terminal of `_WIDTH` columns."""
    terminal, inner = pty.openpty()
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TERM": "xterm-256color",
        "COLUMNS": str(_WIDTH),
        "LINES": "40",
        "PYOCI_EMBEDDED": str(folder / "registry"),
    }
    process = subprocess.Popen(  # noqa: S603  # one of _COMMANDS
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=inner,
        stderr=inner,
    )
    os.close(inner)
    output = b""
    while piece := _read(terminal):
        output += piece
    os.close(terminal)
    if process.wait() != 0:
        raise SystemExit(f"{command} failed:\n{output.decode()}")
    return _final_lines(output.decode())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def _final_lines(text: str) -> str:
    """The lines as they stand in the end, without those that a progress bar has overwritten."""
    text = re.sub(r"\x1b\[\?25[lh]", "", text).replace("\r\n", "\n")
    lines: list[str] = []
    for line in text.split("\n"):
        ups = line.count("\x1b[1A")
        if ups:
            del lines[len(lines) - ups :]
        last = re.split(r"\r|\x1b\[2K|\x1b\[1A", line)[-1]
        lines.append(last)
    return "\n".join(line for line in lines if line.strip())


def animated(svg: str) -> str:
    """The drawing, whose lines appear one after the other."""
    count = 1 + max(int(number) for number in re.findall(r"-line-(\d+)\)", svg))
    rules = " ".join(
        f'text[clip-path$="-line-{number})"] {{ animation: shown .1s {number * _LINE_SECONDS:.2f}s both }}'
        for number in range(count)
    )
    return svg.replace("</style>", _STYLE.format(rules=rules) + "</style>", 1)


def main() -> None:
    console = Console(record=True, width=_WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115  # for all of main
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dist").mkdir()
        (folder / "registry").mkdir()
        for project, version in (("hello-world", "1.0"), ("hello-world", "1.1"), ("greeting", "2.0")):
            filename, content = make_wheel(project, version)
            (folder / "dist" / filename).write_bytes(content)
        for command in _COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            console.print(Text.from_ansi(run(command, folder)))
            console.print()
    svg = console.export_svg(title="pyoci", unique_id="pyoci")
    # No font is loaded from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "ui-monospace").replace("https://www.textualize.io", "")
    target = Path(__file__).parent / "images" / "command.svg"
    target.parent.mkdir(exist_ok=True)
    target.write_text(animated(svg))


if __name__ == "__main__":
    main()
