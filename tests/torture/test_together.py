"""Sixty-four uploads of different wheels of one version at once, with deletes and yanks in between; and all
versions of a project deleted at once.
"""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.live.redis_server import RedisServer
from tests.live.servers import Servers, running_pyoci
from tests.torture.conftest import Tally

pytestmark = pytest.mark.timeout(3600)
ROUNDS, UPLOADS = 20, 64
DELETES = 4
FRESH = {"Accept": "application/vnd.pypi.simple.v1+json", "Cache-Control": "no-cache"}


def _redis(folder: Path, stack: ExitStack) -> str:
    redis = RedisServer(folder)
    stack.callback(redis.close)
    redis.start()
    return redis.url


# How many servers, how many workers each has, and what they share.
SET_UPS: dict[str, tuple[int, int, Callable[[Path, ExitStack], str]]] = {
    "one server": (1, 4, lambda _folder, _stack: ""),
    "two that share a cache": (2, 2, lambda folder, _stack: f"file://{folder}"),
    "two that share Redis": (2, 2, _redis),
    "two that share nothing": (2, 2, lambda _folder, _stack: ""),
}


@pytest.fixture(params=SET_UPS)
def indexes(
    request: pytest.FixtureRequest, servers: Servers, registry: str, tmp_path: Path
) -> Iterator[list[str]]:
    """The URL of one namespace at each server of the set-up."""
    count, workers, shared = SET_UPS[request.param]
    settings = {"WEB_CONCURRENCY": str(workers), "PYOCI_REGISTRIES": f"lab={registry}"}
    with ExitStack() as stack:
        if cache := shared(tmp_path, stack):
            settings["PYOCI_CACHE_URL"] = cache
        running = [running_pyoci(servers, "torture", **settings) for _ in range(count)]
        urls = [stack.enter_context(server).url for server in running]
        path = f"/lab/acme/n{uuid.uuid4().hex[:12]}/"
        yield [url + path for url in urls]


def test_uploads_at_once(indexes: list[str], tally: Tally) -> None:
    """All is answered with success, and the page shows all of it. hatch would wait for ten seconds."""
    for number in range(ROUNDS):
        _round(indexes, f"{number}.0", random.Random(number), tally)


def test_deletes_at_once(indexes: list[str], registry: str, tally: Tally) -> None:
    """Each version of a project is deleted at the same moment: all are gone, and one tag keeps the name."""
    namespace = indexes[0].split("/lab/")[1]
    for number in range(ROUNDS):
        project, versions = f"emptied{number}", [f"{minor}.0" for minor in range(DELETES)]
        for version in versions:
            assert _upload(indexes[0], *make_wheel(project, version)).status_code == 200
        with ThreadPoolExecutor(DELETES) as pool:
            answers = list(
                pool.map(
                    lambda index, version, project=project: _delete_version(index, project, version),
                    itertools.cycle(indexes),
                    versions,
                )
            )
        tags = requests.get(f"{registry}/v2/{namespace}{project}/tags/list", timeout=60).json()["tags"]
        page = requests.get(f"{indexes[-1]}{project}/", headers=FRESH, timeout=60)
        kept = tags == ["0--pyoci"] and page.status_code == 200 and page.json()["files"] == []
        said = f"{[(answer.status_code, answer.text) for answer in answers]}; {tags}; {page.text}"
        tally.add(kept and all(answer.ok for answer in answers), f"{project}: {said}")


def _round(indexes: list[str], version: str, chance: random.Random, tally: Tally) -> None:
    wheels = [make_wheel(version=version, tag=f"py3-none-manylinux_2_{n}_x86_64") for n in range(UPLOADS)]
    early = [make_wheel(version=version, tag=f"cp3{n}-none-any") for n in range(4)]
    for wheel in early:
        assert _upload(indexes[0], *wheel).status_code == 200
    jobs: list[tuple[Callable[[str, str, bytes], requests.Response], tuple[str, bytes]]]
    jobs = [(_upload, wheel) for wheel in wheels]
    jobs += [(_delete, early[0]), (_yank, early[1]), (_delete, early[2]), (_yank, early[3])]
    chance.shuffle(jobs)
    with ThreadPoolExecutor(len(jobs)) as pool:
        answers = list(pool.map(lambda job: job[0](chance.choice(indexes), *job[1]), jobs))
    page = requests.get(f"{indexes[-1]}hello-world/", headers=FRESH, timeout=60)
    shown = {file["filename"]: file.get("yanked", False) for file in page.json()["files"]}
    for (what, (filename, _)), answer in zip(jobs, answers, strict=True):
        fits: dict[object, bool] = {_upload: shown.get(filename) is False, _yank: bool(shown.get(filename))}
        right = fits.get(what, filename not in shown)
        tally.slowest = max(tally.slowest, answer.elapsed.total_seconds())
        said = f"{version} {what.__name__} {answer.status_code} {answer.text} after {answer.elapsed}"
        tally.add(right and answer.ok, f"{said}; on the page: {right}")


def _delete_version(index: str, project: str, version: str) -> requests.Response:
    return requests.delete(f"{index}{project}/{version}", timeout=60)


def _upload(index: str, filename: str, content: bytes) -> requests.Response:
    form = {":action": "file_upload", "protocol_version": "1", "name": filename.split("-")[0]}
    form["version"] = filename.split("-")[1]
    return requests.post(index, data=form, files={"content": (filename, content)}, timeout=60)


def _delete(index: str, filename: str, _content: bytes) -> requests.Response:
    return requests.delete(f"{index}hello-world/{filename}", timeout=60)


def _yank(index: str, filename: str, _content: bytes) -> requests.Response:
    return requests.patch(f"{index}hello-world/{filename}", json={"yanked": "broken"}, timeout=60)
