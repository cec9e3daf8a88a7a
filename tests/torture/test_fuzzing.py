"""A coverage-guided fuzzer on what strangers send: upload forms, archives, METADATA."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.live.environments import CHECKOUT, Environments, NotInstalled
from tests.torture.conftest import Tally
from tests.torture.lasting import SECONDS
from tests.torture.targets import TARGETS

pytestmark = pytest.mark.timeout(SECONDS + 600)
HANG = 10  # seconds for one input
MEMORY = 1024  # MiB, of the fuzzer with all that it has found
LENGTH = 20_000  # bytes of an input

# All that reads archives shares the time of one.
SHARES = {"form": 1.0, "wheel": 0.25, "zipped": 0.15, "tar": 0.25, "gzipped": 0.1, "metadata": 0.25}


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter beside atheris, of which there are wheels for Linux."""
    try:
        return str(Environments().python("atheris"))
    except NotInstalled as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", TARGETS)
def test_fuzzing(python: str, name: str, tmp_path: Path, tally: Tally) -> None:
    """Only the kinds of pyoci.errors, no hang, no growth. What breaks that is printed as bytes: it belongs
    into tests/flows/test_fuzzed.py.
    """
    options: tuple[str, ...] = (f"-max_total_time={max(int(SECONDS * SHARES[name]), 5)}", f"-timeout={HANG}")
    options += (f"-rss_limit_mb={MEMORY}", f"-max_len={LENGTH}", f"-artifact_prefix={tmp_path}/found-")
    command = [python, "-m", "tests.torture.fuzzing", name, str(tmp_path / "corpus"), *options]
    # The fuzzer stands alone in its environment; PyOCI and what it needs come from this one.
    path = os.pathsep.join((str(CHECKOUT), sysconfig.get_path("purelib")))
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=SECONDS + 300,
            check=False,
        )
    text = (tmp_path / "log").read_text(errors="replace")
    tally.tried = tally.survived = max(
        (int(n) for n in re.findall(r"^#(\d+)\s", text, re.MULTILINE)), default=0
    )
    assert tally.tried, text[-4000:]
    for found in sorted(tmp_path.glob("found-*")):
        tally.survived -= 1
        tally.failures.append(f"{found.name}: {found.read_bytes()[:2000]!r}\n{text[-3000:]}")
    assert done.returncode == 0 or tally.failures, text[-4000:]
