"""Kills a server's worker at each step of an operation: the client's connection is closed."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import requests

from tests.live.servers import Server
from tests.torture.killing import place
from tests.torture.operations import OPERATIONS, Operation, Packages, again
from tests.torture.relay import Relay, Way
from tests.torture.served import Served


def fell_at_each_step(server: Server, relay: Relay, registry: str, namespace: str, name: str) -> list[str]:
    """SIGKILL the worker as the registry has met a request of this operation, for each of them in turn; and
    assert each time that the file is absent or whole, that every neighbour is there, in the registry and on
    the page of the next worker, and that the same again succeeds. The server knows the registry as `lab`, by
    the relay. Returns the steps.
    """
    operation, steps = OPERATIONS[name], list[str]()
    for step in itertools.count():
        path = place(namespace, name, step)
        served = Served(f"{server.url}/lab/{path}/")
        relay.reset()
        operation.prepare(served)
        answered, felled = _felled(server, relay, served, operation, step)
        if not felled:
            return steps
        said = (operation.after,) if answered else (operation.begun, operation.after)
        assert Packages.at(registry, path).state() in said, (name, step)
        assert served.state() in said, (name, step)
        again(operation, served)
        assert Packages.at(registry, path).state() == operation.after, (name, step)
        steps.append(f"{name}/{step}")
    raise AssertionError("there is always another number")


def _felled(
    server: Server, relay: Relay, served: Served, operation: Operation, step: int
) -> tuple[bool, bool]:
    """Whether the operation was answered, and whether the worker was killed."""
    felled = False

    def fell(way: Way) -> None:
        nonlocal felled
        felled = True
        way.ask()
        for worker in _workers(server):
            os.kill(worker, signal.SIGKILL)
        way.reset()

    relay.reset(lambda exchange: fell if exchange.number == step else None)
    try:
        operation.run(served)
    except requests.ConnectionError:
        assert felled
        return False, True
    finally:
        relay.reset()
    return True, felled


def _workers(server: Server) -> list[int]:
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
