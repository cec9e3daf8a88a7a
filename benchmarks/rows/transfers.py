"""Upload and download of a wheel of 200 MB with PyOCI's embedded registry, compared with pypiserver and its
folder.
"""

from __future__ import annotations

from benchmarks import peers
from benchmarks.results import Row, alternate
from benchmarks.servers import Stage
from benchmarks.transfers import Transfer, download, upload
from benchmarks.wheels import MB, large_wheel

_SIZE = 200  # MB
_PROJECT = "large"


def transfer_rows(stage: Stage, rounds: int) -> list[Row]:
    """Throughput, and the wait after an upload's last byte."""
    sites = (stage.pyoci(), peers.pypiserver(stage))
    small = large_wheel(stage.folder, _PROJECT, "0.1", MB)
    for site in sites:
        upload(site.address, site.upload, small)
        download(site.address, site.file_of(_PROJECT, small.name), small, verify=True)
    files = [large_wheel(stage.folder, _PROJECT, f"1.{turn}", _SIZE * MB) for turn in range(rounds)]
    up = alternate(sites, rounds, lambda site, turn: upload(site.address, site.upload, files[turn]))
    down = alternate(
        sites,
        rounds,
        lambda site, turn: download(site.address, site.file_of(_PROJECT, files[turn].name), files[turn]),
    )
    sent, fetched = ([transfers for _, transfers in measured] for measured in (up, down))
    about = f"of {_SIZE} MB, PyOCI's own registry"
    return [
        _rates(f"upload {about}", sent),
        Row(
            name=f"upload {about}, last byte to answer",
            unit="s",
            runs=tuple(transfer.wait for transfer in sent[0]),
            beside=peers.PYPISERVER,
            others=tuple(transfer.wait for transfer in sent[1]),
        ),
        _rates(f"download {about}", fetched),
    ]


def _rates(name: str, found: list[list[Transfer]]) -> Row:
    pyoci, other = (tuple(transfer.rate for transfer in transfers) for transfers in found)
    return Row(name=name, unit="MB/s", runs=pyoci, beside=peers.PYPISERVER, others=other)
