"""Run in a process, and an environment, of its own: a target under atheris, the coverage-guided fuzzer.

python -m tests.torture.fuzzing <target> <folder of its corpus> <libFuzzer's options>
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pyoci", "werkzeug", "packaging", "zipfile", "tarfile", "email"]):
    from tests.torture.targets import TARGETS


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(TARGETS[name].seeds):
        (folder / f"seed-{number}").write_bytes(content)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[name].feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
