"""A process that remembers all that it may is still a small one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.live.environments import CHECKOUT

pytestmark = pytest.mark.timeout(600)
MOST = 160 * 2**20  # bytes


def test_filled(capsys: pytest.CaptureFixture[str]) -> None:
    """Documents, states, proofs, sizes, rendered pages and the JSON of files of 6000 projects: more than the
    bounds let in.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.filling"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    with capsys.disabled():
        print(f"\n{int(done.stdout) / 2**20:.0f} MiB")
    assert int(done.stdout) < MOST
