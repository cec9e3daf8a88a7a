"""The simplest loop that reads a project's versions from a registry: the lower limit for a page without a
cache. One session for each thread, kept connections, and no checks except the status.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from benchmarks.results import Missed
from benchmarks.seeding import INDEX

_THREADS = 16
_TIMEOUT = 60  # seconds


def read_versions(registry: str, repository: str, count: int) -> float:
    """Request the tags, then the document of each; returns the seconds that it took."""
    started = time.perf_counter()
    local = threading.local()

    def session() -> requests.Session:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.trust_env = False
        found: requests.Session = local.session
        return found

    def get(path: str) -> requests.Response:
        url = f"{registry}/v2/{repository}/{path}"
        answer = session().get(url, headers={"Accept": INDEX}, timeout=_TIMEOUT)
        if answer.status_code != 200:
            raise Missed(f"the registry answered {answer.status_code} for {path}; expected 200")
        return answer

    tags = get("tags/list").json()["tags"]
    with ThreadPoolExecutor(_THREADS) as readers:
        documents = list(readers.map(lambda tag: get(f"manifests/{tag}").json(), tags))
    if len(documents) != count:
        raise Missed(f"the registry gave {len(documents)} versions; expected {count}")
    return time.perf_counter() - started
