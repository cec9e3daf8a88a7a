"""What can be switched on. It is imported only then: nobody else pays for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pyoci.telemetry.logs import Log

if TYPE_CHECKING:
    from pyoci.telemetry.otlp import Otlp
    from pyoci.telemetry.prometheus import Prometheus


def exporting(
    endpoint: str, authorization: str, resource: Mapping[str, str], version: str, log: Log
) -> Callable[[], Otlp]:
    """What makes a process's SDK, which sends to the collector at `endpoint`."""
    from pyoci.telemetry.budget import Budget
    from pyoci.telemetry.notices import Notices
    from pyoci.telemetry.otlp import Collector, Otlp

    Notices(log.tell).take_over()
    collector = Collector(endpoint, authorization)
    attributes = {"service.name": "pyoci", "service.version": version, **resource}
    # Who has chosen a sampler has chosen how much it may cost.
    chosen = "OTEL_TRACES_SAMPLER" in os.environ
    return lambda: Otlp(collector, attributes, version, None if chosen else Budget())


def counting(directory: Path) -> Prometheus:
    """The metrics of all processes, in files of that directory."""
    from pyoci.telemetry.prometheus import Prometheus

    return Prometheus(directory)
