"""Releases of clients that people still use: each gets an environment of its own, made by uv from PyPI.

`@pytest.mark.live("twine==3.0.0")` names one, and `clients.run("twine==3.0.0", ...)` runs it. Before `==`
stands the program, which is not always the package. The newest releases are in `requirements`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Release:
    """`before` leaves out what was published on that day or later: dependencies are as old as the client.

    `python` bounds the interpreter, where the client doesn't run on every one.
    """

    requirements: tuple[str, ...]
    before: str = ""
    python: tuple[int, int] = (3, 99)

    def __str__(self) -> str:
        """Changes whenever another environment results."""
        return "\n".join((*self.requirements, self.before, f"{self.python}"))


# A client reads passwords from the keyring that lies beside it.
_KEYRING = ("keyring >=25, <26", "keyrings.alt >=5, <6")
RELEASES = {
    "keyring==25": Release(_KEYRING),
    "pip==20.0.2": Release(("pip ==20.0.2", *_KEYRING), python=(3, 12)),  # it imports cgi
    "pip==22.3.1": Release(("pip ==22.3.1", *_KEYRING)),
    "pip==26.3": Release(("pip ==26.3", *_KEYRING)),
    "uv==0.4.0": Release(("uv ==0.4.0",)),
    "uv==0.4.30": Release(("uv ==0.4.30",)),
    "uv==0.8.24": Release(("uv ==0.8.24",)),
    "uv==0.13.9": Release(("uv ==0.13.9",)),
    "twine==3.0.0": Release(
        ("twine ==3.0.0", "urllib3 <2", "setuptools <81", "requests-toolbelt <1", "pkginfo <1.10"),
        python=(3, 12),
    ),
    "twine==4.0.2": Release(("twine ==4.0.2",), before="2023-12-01"),
    "poetry==1.1.12": Release(("poetry ==1.1.12",), before="2022-01-01", python=(3, 11)),
    "poetry==1.8.5": Release(("poetry ==1.8.5",), before="2025-01-01"),
    "pdm==2.0.3": Release(("pdm ==2.0.3",), before="2022-09-01", python=(3, 11)),
    "pdm==2.12.4": Release(("pdm ==2.12.4",), before="2024-04-01", python=(3, 12)),
    "hatch==1.0.0": Release(("hatch ==1.0.0",), before="2022-08-01", python=(3, 11)),
    "hatch==1.12.0": Release(("hatch ==1.12.0",), before="2024-09-01", python=(3, 12)),
    "pipenv==2020.11.15": Release(("pipenv ==2020.11.15",), before="2021-01-01", python=(3, 11)),
    "pipenv==2026.10.3": Release(("pipenv ==2026.10.3",)),
    "pip-compile==5.3.1": Release(("pip-tools ==5.3.1", "pip ==20.2.4", "setuptools <81"), python=(3, 11)),
    "flit==3.2.0": Release(("flit ==3.2.0",), before="2021-07-01"),
    "maturin==1.16.0": Release(("maturin ==1.16.0",)),
    "grayskull==3.2.0": Release(("grayskull ==3.2.0",)),
    "devpi==7.3.0": Release(("devpi-client ==7.3.0", "devpi-server ==6.20.3")),
    "python==3.11": Release((), python=(3, 11)),  # distutils, which uploads, went with 3.12
}


def install(release: Release, target: Path, uv: Path, index: str, run: Callable[..., None]) -> None:
    """Make the environment `target`; `index` is where PyPI is."""
    fits = sys.version_info[:2] <= release.python
    major, minor = release.python
    run(uv, "venv", "--quiet", "--python", sys.executable if fits else f">=3.9,<{major}.{minor + 1}", target)
    before = ("--exclude-newer", release.before) if release.before else ()
    how = ("--quiet", "--no-config", "--default-index", index, "--python", target / "bin" / "python", *before)
    if release.requirements:
        run(uv, "pip", "install", *how, *release.requirements)
