"""Creates .venv and installs PyOCI into it: `python3 .ci/environment.py [EXTRA]`, in the checkout.

`make` runs this before everything else. Nothing is done where all is in place. An environment that is
incomplete is created again, and one that was moved with its checkout is installed again.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
SOURCES = ("pyproject.toml", "setup.cfg", "pyoci/__init__.py")  # what an installation depends on


def main(extra=""):
    if sys.version_info < (3, 11):  # noqa: UP036  # this file starts under older ones, too
        return "PyOCI needs Python 3.11 or newer; this is {}.{}.".format(*sys.version_info)
    if not succeeds(str(PYTHON), "-c", "import pip"):
        try:
            import ensurepip  # noqa: F401  # Debian has it in a package of its own
        except ImportError:
            return (
                "Python's modules for virtual environments are missing: `apt-get install python3-venv` "
                "installs them on Debian and Ubuntu; run make again then."
            )
        shutil.rmtree(VENV, ignore_errors=True)
        if not succeeds(sys.executable, "-m", "venv", str(VENV), show=True):
            shutil.rmtree(VENV, ignore_errors=True)
            return "The virtual environment can't be created; the lines above say why."
    facts = [os.getcwd(), *(Path(name).read_text() for name in SOURCES)]
    key = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    stamps = {"": VENV / ".installed", "dev": VENV / ".installed-dev"}
    if stamps[extra].is_file() and stamps[extra].read_text() == key:
        return None
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wanted = ["--no-compile", "--editable", f".[{extra}]"] if extra else ["--editable", "."]
    if not succeeds(str(PYTHON), *install, *wanted, show=True):
        return "PyOCI can't be installed into .venv; the lines above say why."
    for name in {"", extra}:
        stamps[name].write_text(key)
    return None


def succeeds(*command, show=False):
    """Run a command; with `show` its output is printed where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:  # there is no such program
        return False
    if show and done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
