"""Ends a process at each step of an operation: `python -m tests.torture.killing <relay> <namespace> <name>…`.

For each operation and each of its requests a child begins it and is killed as the registry has met that
request. The child names itself and the step to `Killer`, which sits in the relay, in its User-Agent. Prints
`<operation>/<step>` for each, one a line; the namespace of each is `<namespace>/<operation>-<step>`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections import Counter

from tests.torture.operations import OPERATIONS, Operation, Packages
from tests.torture.relay import Exchange, Fault, Way, pass_on

_VICTIM = re.compile(rb"(?i)\r\nuser-agent: victim/([0-9]+)/([0-9]+)\r\n")


class Killer:
    """The fault of a relay: the registry gets the request, and the sender is killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Counter[int] = Counter()

    def choose(self, exchange: Exchange) -> Fault | None:
        victim = _VICTIM.search(exchange.message)
        if victim is None:
            return None
        pid, step = int(victim[1]), int(victim[2])
        with self._lock:
            self._seen[pid] += 1
            return self._kill(pid) if self._seen[pid] > step else pass_on

    def _kill(self, pid: int) -> Fault:
        def kill(way: Way) -> None:
            way.ask()
            os.kill(pid, signal.SIGKILL)
            way.reset()

        return kill


def run(relay: str, path: str, operation: Operation, step: int) -> bool:
    """Whether the operation ended before its process was killed."""
    child = os.fork()
    if child == 0:
        operation.prepare(Packages.at(relay, path))
        operation.run(Packages.at(relay, path, user_agent=f"victim/{os.getpid()}/{step}"))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        raise SystemExit(f"the child ended with {status}")
    return status == 0


def place(namespace: str, name: str, step: int | str) -> str:
    """The namespace of a step."""
    return f"{namespace}/{name.replace(' ', '-')}-{step}"


def main() -> None:
    relay, namespace, *names = sys.argv[1:]
    for name in names:
        step = 0
        while not run(relay, place(namespace, name, step), OPERATIONS[name], step):
            print(f"{name}/{step}", flush=True)
            step += 1


if __name__ == "__main__":
    main()
