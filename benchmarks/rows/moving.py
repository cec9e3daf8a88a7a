"""`pyoci copy`, `import` and `check` as processes, beside skopeo and crane with the same blobs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import requests

from benchmarks.commands import Ran, run
from benchmarks.environments import crane
from benchmarks.relay import Relay, relay_to
from benchmarks.results import Missed, Row, alternate, at_most, times
from benchmarks.servers import Stage
from benchmarks.wheels import MB, large_wheel
from tests.builders import make_wheel
from tests.live.programs import find

_PROJECTS = 100
_FEW = 12  # projects for skopeo, which copies one after another
_CONTENT = 20_000  # bytes of a small project's module, which don't compress
_LARGE = 1000  # MB
_JOBS = 8
_AWAY = 0.02  # seconds
_MOST = 100  # MB of memory
_HELP = 0.3  # seconds of CPU time
_NAMESPACE = "bench"


@dataclass(frozen=True, slots=True)
class _Place:
    """The registries and the commands. `away` is the target through a relay."""

    stage: Stage
    source: str
    target: str
    away: Relay
    environ: dict[str, str]
    peaks: dict[str, list[int]] = field(default_factory=dict)

    def pyoci(self, verb: str, *arguments: object, what: str = "") -> Ran:
        """Run the command, and remember its memory."""
        command = [sys.executable, "-m", "pyoci", verb, *map(str, arguments)]
        done = run(command, self.environ)
        self.peaks.setdefault(what or verb, []).append(done.peak)
        return done


_Copy = Callable[[_Place, str], int]  # copies projects to a namespace; returns how many


def moving_rows(stage: Stage, rounds: int) -> list[Row]:
    """Small projects to a registry that is 20 ms away, one large file, and a check. Few rounds: each takes
    the others' time, too.
    """
    rounds = min(rounds, 2)
    source, target = stage.docker_registry(), stage.docker_registry()
    home = stage.new_folder("home")
    environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TMPDIR": str(stage.folder)}
    with ExitStack() as relays:
        away = relays.enter_context(relay_to(target, delay=_AWAY))
        place = _Place(stage, source, target, away, {**environ, "DOCKER_CONFIG": str(home)})
        _seed(place)
        index = stage.pyoci(source)
        near = relays.enter_context(relay_to(index.server.url, delay=_AWAY))
        url = f"{near.url}{index.upload}"
        _warm(f"{index.server.url}{index.upload}")
        return [
            *_small(place, rounds, url),
            *_large(place, rounds),
            *_check(place),
            *(_memory(what, peaks) for what, peaks in place.peaks.items()),
            _help(place, rounds),
        ]


def _seed(place: _Place) -> None:
    """Import small projects, and warm the imports of Python."""
    folder = place.stage.new_folder("wheels")
    for number in range(_PROJECTS):
        name, content = make_wheel(_name(number), files={"module.py": os.urandom(_CONTENT)})
        (folder / name).write_bytes(content)
    run(
        [sys.executable, "-m", "pyoci", "import", f"{place.source}/{_NAMESPACE}", str(folder), "--jobs=32"],
        place.environ,
    )


def _warm(url: str) -> None:
    """Have each page read once, so that an import waits for the network and not for the index."""
    with requests.Session() as session, ThreadPoolExecutor(_JOBS) as pool:
        session.trust_env = False
        pages = [f"{url}{_name(number)}/" for number in range(_PROJECTS)]
        answers = list(pool.map(partial(session.get, timeout=60), pages))
    if any(answer.status_code != 200 for answer in answers):
        raise Missed("a page was not answered with 200")


def _small(place: _Place, rounds: int, url: str) -> list[Row]:
    """Projects a second, and requests for each project."""
    copies: dict[str, _Copy] = {
        "PyOCI": _copied,
        "import": partial(_imported, url=url),
        "skopeo sync, serial": _by_skopeo,
    }
    program = crane()
    if program is not None:
        copies[f"crane copy, {_JOBS} at once"] = partial(_by_crane, program=program)
    found = alternate(tuple(copies), rounds, lambda name, turn: _rate(place, copies[name], f"{name}{turn}"))
    measured = {name: tuple(zip(*values, strict=True)) for name, values in found}
    about = f"{_PROJECTS} small projects, target {_AWAY * 1000:.0f} ms away"
    names = {"PyOCI": f"copy of {about}", "import": f"import of {about}, as the index"}
    rows = []
    for ours, name in names.items():
        # An import reads each write back twice, because others may write the same version at the same time.
        fewer = times(1) if ours == "PyOCI" else None
        for place_in, unit, bar in ((0, "1/s", times(0.5, at_least=True)), (1, "requests each", fewer)):
            rows += [
                Row(
                    name=name,
                    unit=unit,
                    runs=measured[ours][place_in],
                    beside=other,
                    others=measured[other][place_in],
                    bar=bar,
                )
                for other in copies
                if other not in names
            ]
    return rows


def _rate(place: _Place, copy: _Copy, name: str) -> tuple[float, float]:
    """Projects a second, and requests to the target for each."""
    namespace = "".join(each for each in name.lower() if each.isalnum())
    place.away.reset()
    started = time.monotonic()
    count = copy(place, namespace)
    seconds = time.monotonic() - started
    return count / seconds, sum(place.away.counts().values()) / count


def _copied(place: _Place, namespace: str) -> int:
    addresses = (f"{place.source}/{_NAMESPACE}", f"{place.away.url}/{namespace}")
    place.pyoci("copy", *addresses, f"--jobs={_JOBS}")
    return _PROJECTS


def _imported(place: _Place, namespace: str, url: str) -> int:
    place.pyoci("import", f"{place.away.url}/{namespace}", url, f"--jobs={_JOBS}")
    return _PROJECTS


def _by_skopeo(place: _Place, namespace: str) -> int:
    program = find("skopeo")
    if program is None:
        raise Missed("skopeo is not installed; Debian's package of that name brings it")
    images: dict[str, list[str]] = {f"{_NAMESPACE}/{_repository(number)}": [] for number in range(_FEW)}
    path = place.stage.folder / f"{namespace}.yml"
    # JSON is YAML, too.
    path.write_text(json.dumps({_host(place.source): {"tls-verify": False, "images": images}}))
    options = ["--all", "--dest-tls-verify=false", "--src=yaml", "--dest=docker"]
    run([program, "sync", *options, str(path), f"{_host(place.away.url)}/{namespace}"], place.environ)
    return _FEW


def _by_crane(place: _Place, namespace: str, program: str) -> int:
    def copy(number: int) -> None:
        source = f"{_host(place.source)}/{_NAMESPACE}/{_repository(number)}"
        target = f"{_host(place.away.url)}/{namespace}/{_repository(number)}"
        run([program, "copy", "--insecure", "--all-tags", source, target], place.environ)

    with ThreadPoolExecutor(_JOBS) as pool:
        for _ in pool.map(copy, range(_PROJECTS)):
            pass
    return _PROJECTS


def _large(place: _Place, rounds: int) -> list[Row]:
    """One file of 1 GB, without a relay."""
    folder = place.stage.new_folder("large")
    large_wheel(folder, "large", "1.0", _LARGE * MB)
    source = f"{place.source}/large"
    place.pyoci("import", source, folder, what=f"import of {_LARGE} MB")
    ways: dict[str, Callable[[str], Ran]] = {
        "PyOCI": lambda name: place.pyoci(
            "copy", source, f"{place.target}/{name}", "large", what=f"copy of {_LARGE} MB"
        )
    }
    program = crane()
    skopeo = find("skopeo")
    if program is not None:
        ways["crane copy"] = lambda name: run(
            [program, "copy", "--insecure", f"{_host(source)}/large:1.0", _large_at(place, name)],
            place.environ,
        )
    elif skopeo is not None:
        options = ["--all", "--src-tls-verify=false", "--dest-tls-verify=false"]
        addresses = (f"docker://{_host(source)}/large:1.0", "docker://{}")
        ways["skopeo copy"] = lambda name: run(
            [skopeo, "copy", *options, addresses[0], addresses[1].format(_large_at(place, name))],
            place.environ,
        )
    found = alternate(tuple(ways), rounds, lambda way, turn: ways[way](f"{way.split()[0].lower()}{turn}"))
    (_, ours), *others = [(way, tuple(each.seconds for each in ran)) for way, ran in found]
    return [
        Row(
            name=f"copy of one file of {_LARGE} MB",
            unit="s",
            runs=ours,
            beside=other,
            others=seconds,
            bar=times(1.3),
        )
        for other, seconds in others
    ]


def _large_at(place: _Place, name: str) -> str:
    return f"{_host(place.target)}/{name}/large:1.0"


def _check(place: _Place) -> list[Row]:
    """Each project has a tag, a manifest, a file and its METADATA."""
    with relay_to(place.source) as relay:
        place.pyoci("check", f"{relay.url}/{_NAMESPACE}")
        counts, again = relay.counts(), relay.repeated()
    asked = {kind: counts.get(kind, 0) for kind in ("documents", "blobs")}
    rows = [
        Row(name=f"check of {_PROJECTS} projects: requests for {kind}", runs=(n,), bar=at_most(2 * _PROJECTS))
        for kind, n in asked.items()
    ]
    name = "check: requests for a document or blob that was asked for already"
    return [*rows, Row(name=name, runs=(again,), bar=at_most(0))]


def _memory(what: str, peaks: list[int]) -> Row:
    found = tuple(peak / MB for peak in peaks)
    return Row(name=f"{what}, peak of memory", unit="MB", runs=found, bar=at_most(_MOST, "MB"))


def _help(place: _Place, rounds: int) -> Row:
    command = [str(Path(sys.executable).with_name("pyoci")), "--help"]
    run(command, place.environ)
    found = tuple(run(command, place.environ).cpu for _ in range(max(rounds, 3)))
    return Row(name="pyoci --help, CPU time", unit="s", runs=found, bar=at_most(_HELP, "s"))


def _name(number: int) -> str:
    return f"project-{number}"


def _repository(number: int) -> str:
    return _name(number).replace("-", "_")


def _host(url: str) -> str:
    return url.removeprefix("http://")
