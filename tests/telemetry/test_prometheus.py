"""One page of metrics for several processes, including those that have ended."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from pyoci.telemetry import measures
from pyoci.telemetry.prometheus import Prometheus
from tests.live.environments import CHECKOUT

LABELS = ("GET", "/", "200", "http", "")
# A worker that starts after the directory was removed.
LATE_WORKER = """
import os, shutil, sys
from pathlib import Path
from pyoci.telemetry import measures
from pyoci.telemetry.prometheus import Prometheus
prometheus = Prometheus(Path(sys.argv[1]))
shutil.rmtree(sys.argv[1])
worker = os.fork()
for _ in range(2):
    prometheus.record(measures.THREADS, 8, ())
    prometheus.record(measures.REQUESTS, 1.0, ("GET", "/", "200", "http", ""))
if worker:
    assert os.waitpid(worker, 0)[1] == 0
    prometheus.mark_process_dead(worker)
"""
# A process that has no descriptors left for a while.
WITHOUT_DESCRIPTORS = """
import resource, sys
from pathlib import Path
from flask import Flask
from pyoci.telemetry import measures
from pyoci.telemetry.prometheus import Prometheus
prometheus = Prometheus(Path(sys.argv[1]))
app = Flask("tests")
app.register_blueprint(prometheus.blueprint())
print(app.test_client().get("/metrics").status_code)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
for limit in (3, soft):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    prometheus.record(measures.REQUESTS, 1.0, ("GET", "/", "200", "http", ""))
    prometheus.mark_process_dead(int(sys.argv[2]))
    print(app.test_client().get("/metrics").status_code)
"""
# A worker of a server whose directory is on a full file system, which has space again later.
WITHOUT_SPACE = """
import os, sys
from pathlib import Path
from pyoci.telemetry import measures
from pyoci.telemetry.logs import Log
from pyoci.telemetry.prometheus import Prometheus
folder = Path(sys.argv[1])
prometheus = Prometheus(folder, Log(stream=sys.stdout))
filler = os.open(folder / "filler", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
def fill():
    try:
        while os.write(filler, bytes(4096)):
            pass
    except OSError:
        pass
def record():
    prometheus.record(measures.THREADS, 8, ())
    for number in range(40):
        prometheus.record(measures.REQUESTS, 1.0, ("GET", f"/{number}", "200", "http", ""))
fill()
record()
worker = os.fork()
if not worker:
    record()
    os.ftruncate(filler, 0)
    record()
    os._exit(0)
assert os.waitpid(worker, 0)[1] == 0
fill()
prometheus.mark_process_dead(worker)
os.ftruncate(filler, 0)
prometheus.mark_process_dead(worker)
record()
print(prometheus.page().decode())
"""
# A process that counts, and shows the sums.
ROOMY = """
import sys
from pathlib import Path
from pyoci.telemetry import measures
from pyoci.telemetry.prometheus import Prometheus
prometheus = Prometheus(Path(sys.argv[1]))
prometheus.record(measures.REQUESTS, 1.0, ("GET", "/", "200", "http", ""))
print(prometheus.page().decode())
"""
# A worker's life: so many requests, of a second each.
WORKER = """
import sys
from pathlib import Path
from pyoci.telemetry import measures
from pyoci.telemetry.prometheus import Prometheus
prometheus = Prometheus(Path(sys.argv[1]))
prometheus.record(measures.THREADS, 8, ())
for _ in range(int(sys.argv[2])):
    prometheus.record(measures.REQUESTS, 1.0, ("GET", "/", "200", "http", ""))
    prometheus.record(measures.COUNTED["uploads"], 1, ("done",))
"""


@pytest.fixture
def prometheus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prometheus:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # so that it is put back
    return Prometheus(tmp_path)


def worker(folder: Path, requests: int) -> int:
    """The id of a process that has counted a number of requests, and ended."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(requests)], cwd=CHECKOUT)
    assert process.wait(60) == 0
    return process.pid


def run_on(file_system: str, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a folder on a file system of its own."""
    mount = f'mount -t {file_system} none "{folder}"'
    enter = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    if subprocess.run([*enter, mount], capture_output=True).returncode:
        pytest.skip(f"this user may not mount {file_system}")
    return subprocess.run(
        [*enter, f'{mount} && exec "$@"', "sh", sys.executable, "-c", script, str(folder)],
        cwd=CHECKOUT,
        timeout=60,
        capture_output=True,
        text=True,
    )


def values(prometheus: Prometheus) -> dict[str, float]:
    """The sums of all samples by their names."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(prometheus.page().decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def test_all_processes_add_up(prometheus: Prometheus, tmp_path: Path) -> None:
    """Running and ended ones, before and after their files were merged. Their thread gauges are removed."""
    first, second = worker(tmp_path, 2), worker(tmp_path, 3)
    prometheus.record(measures.REQUESTS, 0.5, LABELS)
    for buried in ((), (first,), (second,)):
        for process in buried:
            prometheus.mark_process_dead(process)
        found = values(prometheus)
        assert found["http_server_request_duration_seconds_count"] == 6
        assert found["http_server_request_duration_seconds_sum"] == 5.5
        assert found["pyoci_uploads_total"] == 5
    assert found["pyoci_threads_limit"] == 0
    assert not list(tmp_path.glob(f"*_{first}.db"))


def test_merging_waits_for_no_reader(prometheus: Prometheus, tmp_path: Path) -> None:
    """The process that starts workers doesn't wait; files that are left are merged with the next ones."""
    first, second = worker(tmp_path, 1), worker(tmp_path, 1)
    with (tmp_path / "lock").open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        prometheus.mark_process_dead(first)
    assert list(tmp_path.glob(f"histogram_{first}.db"))
    prometheus.mark_process_dead(second)
    assert not list(tmp_path.glob(f"histogram_{first}.db"))
    assert values(prometheus)["http_server_request_duration_seconds_count"] == 2


@pytest.mark.parametrize("kind", ["counter", "histogram", "gauge_livesum"])
def test_a_process_that_has_just_begun(prometheus: Prometheus, tmp_path: Path, kind: str) -> None:
    """It creates its files empty. Readers find the sums of the others, and if it was killed at that moment,
    so does the process that starts workers.
    """
    prometheus.record(measures.REQUESTS, 0.5, LABELS)
    begun = tmp_path / f"{kind}_{2**22 + 1}.db"
    begun.touch()
    assert values(prometheus)["http_server_request_duration_seconds_count"] == 1
    prometheus.mark_process_dead(2**22 + 1)
    assert not begun.exists()
    assert values(prometheus)["http_server_request_duration_seconds_count"] == 1


def test_without_its_directory(prometheus: Prometheus, tmp_path: Path) -> None:
    """As systemd removes what a user has in /dev/shm when they log out. The page says so, and that is all."""
    app = Flask(__name__)
    app.register_blueprint(prometheus.blueprint())
    shutil.rmtree(tmp_path)
    answer = app.test_client().get("/metrics")
    assert (answer.status_code, answer.text) == (
        503,
        "the directory of the metrics was removed; a restart of PyOCI creates it\n",
    )


def test_workers_start_and_end_without_the_directory(tmp_path: Path) -> None:
    """Neither they nor the process that starts them fail."""
    process = subprocess.run([sys.executable, "-c", LATE_WORKER, str(tmp_path)], cwd=CHECKOUT, timeout=60)
    assert process.returncode == 0


def test_a_process_without_free_descriptors(prometheus: Prometheus, tmp_path: Path) -> None:
    """It doesn't fail. What it can't count is lost, and nothing else: later counts are there, and those of
    processes that ended meanwhile.
    """
    ended = worker(tmp_path, 2)
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS, str(tmp_path), str(ended)],
        cwd=CHECKOUT,
        timeout=60,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.split() == ["200", "503", "200"]
    assert values(prometheus)["http_server_request_duration_seconds_count"] == 3
    assert not list(tmp_path.glob(f"*_{ended}.db"))


def test_a_full_file_system(tmp_path: Path) -> None:
    """Nothing is killed by a write to a page of memory for which there is no space. The log says once that
    metrics aren't counted; later they are. The counts of a worker that ends are added up when there is space.
    """
    process = run_on("tmpfs -o size=1m", tmp_path, WITHOUT_SPACE)
    assert process.returncode == 0, process.stderr
    lines = [line for line in process.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 2  # one of each process
    assert all("metrics not counted" in line and "No space left on device" in line for line in lines)
    counts = [line for line in process.stdout.splitlines() if "request_duration_seconds_count{" in line]
    assert sum(float(line.split()[-1]) for line in counts) > 40


def test_a_file_system_that_reserves_no_space(tmp_path: Path) -> None:
    """The C library does it by writing to each block."""
    process = run_on("ramfs", tmp_path, ROOMY)
    assert process.returncode == 0, process.stderr
    assert "http_server_request_duration_seconds_sum{" in process.stdout


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system can't reserve disk space")
def test_disk_space_is_reserved(prometheus: Prometheus, tmp_path: Path) -> None:
    """Each file has the disk space of its whole size before it is written, also when it has grown, and when
    the counts of an ended process were added to those of others.
    """
    for number in range(40):
        prometheus.record(measures.REQUESTS, 1.0, ("GET", f"/{number}", "200", "http", ""))
    for _ in range(2):
        prometheus.mark_process_dead(worker(tmp_path, 3))
    files = [file.stat() for file in tmp_path.glob("*.db")]
    assert len(files) == 5
    assert max(file.st_size for file in files) > 64 * 1024
    assert all(file.st_blocks * 512 >= file.st_size for file in files)


def test_one_that_has_counted_nothing(prometheus: Prometheus) -> None:
    """It ended at once."""
    prometheus.mark_process_dead(2**22 + 1)
    assert values(prometheus).get("http_server_request_duration_seconds_count", 0) == 0
