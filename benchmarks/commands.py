"""Commands that are measured as a whole: their time, CPU time and memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import memory
from benchmarks.results import Missed

_PAUSE = 0.005  # seconds between two looks at the memory
_LIMIT = 120  # seconds for one command


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command took. `peak` is its highest resident memory in bytes."""

    seconds: float
    cpu: float
    peak: int


def run(command: Sequence[str], environ: Mapping[str, str]) -> Ran:
    """Run a command to its end. Raises Missed if it fails.

    The peak is the kernel's own, read again and again until the end: the one that is left afterwards
    (getrusage) includes this process, from which the command was forked.
    """
    with tempfile.TemporaryFile() as output:
        started, peak = time.monotonic(), 0
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environ
        )
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            peak = memory.highest(process.pid) or peak
            if time.monotonic() - started > _LIMIT:
                process.kill()
            time.sleep(_PAUSE)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            said = output.read().decode(errors="replace")[-800:].strip()
            raise Missed(f"{' '.join(command[:4])} ended with {process.returncode}: {said}")
    return Ran(seconds, usage.ru_utime + usage.ru_stime, peak)
