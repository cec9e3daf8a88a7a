"""Checks after processes were killed during their operations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.torture.killing import Killer, place
from tests.torture.operations import OPERATIONS, Packages, again
from tests.torture.relay import relay_to

_CHECKOUT = Path(__file__).parents[2]


def kill_at_each_step(registry: str, namespace: str, *names: str) -> list[str]:
    """Kill a process at each step of these operations, and assert after each that the file is absent or
    whole, that every neighbour is there, that a project that had a file still has its name, and that the
    same again succeeds. Returns the steps.
    """
    with relay_to(registry) as relay:
        relay.reset(Killer().choose)
        command = [sys.executable, "-m", "tests.torture.killing", relay.url, namespace, *names]
        ran = subprocess.run(command, cwd=_CHECKOUT, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    for name, _, step in (line.partition("/") for line in ran.stdout.splitlines()):
        operation, packages = OPERATIONS[name], Packages.at(registry, place(namespace, name, step))
        assert packages.state() in (operation.begun, operation.after), (name, step)
        assert packages.is_known() or not operation.before, (name, step)
        again(operation, packages)
    return ran.stdout.splitlines()
