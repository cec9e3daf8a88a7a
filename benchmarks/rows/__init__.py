"""The measurements. The function of a row starts what it needs, and returns lines of the table."""

from collections.abc import Callable

from benchmarks.results import Row
from benchmarks.rows.cold import cold_rows
from benchmarks.rows.crowd import crowd_rows
from benchmarks.rows.downloads import download_rows
from benchmarks.rows.gateway import gateway_rows
from benchmarks.rows.hostile import hostile_rows
from benchmarks.rows.install import install_rows
from benchmarks.rows.many import many_rows
from benchmarks.rows.moving import moving_rows
from benchmarks.rows.pages import page_rows
from benchmarks.rows.slow import slow_rows
from benchmarks.rows.telemetry import telemetry_rows
from benchmarks.rows.tokens import token_rows
from benchmarks.rows.transfers import transfer_rows
from benchmarks.rows.uploads import upload_rows
from benchmarks.rows.upstream import upstream_rows
from benchmarks.servers import Stage

ROWS: dict[str, Callable[[Stage, int], list[Row]]] = {
    "pages": page_rows,
    "telemetry": telemetry_rows,
    "cold": cold_rows,
    "crowd": crowd_rows,
    "many": many_rows,
    "install": install_rows,
    "tokens": token_rows,
    "uploads": upload_rows,
    "downloads": download_rows,
    "upstream": upstream_rows,
    "gateway": gateway_rows,
    "slow": slow_rows,
    "hostile": hostile_rows,
    "transfers": transfer_rows,
    "moving": moving_rows,
}
