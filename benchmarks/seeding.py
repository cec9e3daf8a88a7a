"""Many versions at once, written directly to a registry in the stored format (docs/storage.rst). Publishing a
thousand versions through a package index would take a minute. A page shows the content of the image indexes,
so all versions share one wheel and one sdist.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import requests

from benchmarks.results import Missed

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PACKAGE = "application/pyoci.package.v1"
_CREATED = "2026-01-01T00:00:00Z"
_AT_ONCE = 4
_TIMEOUT = 60  # seconds
_SUFFIXES = (
    "py3-none-any.whl",
    ".tar.gz",
    *(f"cp3{minor}-cp3{minor}-manylinux_2_17_x86_64.whl" for minor in range(9, 17)),
)

# Sends one request of the registry API: method, path below /v2/<repository>/, headers, body.
Send = Callable[[str, str, dict[str, str], bytes], object]
Basic = tuple[str, str]


def seed(
    registry: str, repository: str, versions: int, *, files: int = 2, caller: Basic | None = None
) -> None:
    """Write versions 1.0 to 1.<versions - 1> to a repository. Raises Missed."""
    with requests.Session() as session:
        session.trust_env = False
        session.auth = caller

        def send(method: str, path: str, headers: dict[str, str], body: bytes) -> str:
            url = path if "://" in path else f"{registry}/v2/{repository}/{path}"
            answer = session.request(method, url, headers=headers, data=body, timeout=_TIMEOUT)
            if answer.status_code not in {201, 202}:
                raise Missed(f"{method} {path} was answered with {answer.status_code}; expected 201 or 202")
            return answer.headers.get("Location", "")

        manifest = push_file(send)
        project = repository.rpartition("/")[2]
        documents = image_indexes(project, versions, files, manifest)
        with ThreadPoolExecutor(_AT_ONCE) as senders:
            for _ in senders.map(lambda item: put_document(send, *item), documents):
                pass


def push_file(send: Send) -> dict[str, object]:
    """Push the shared file and its manifest; returns the manifest's descriptor."""
    blob = b"the same for all"
    for content in (blob, b"{}"):
        digest = _digest(content)
        location = str(send("POST", "blobs/uploads/", {}, b""))
        joint = "&" if "?" in location else "?"
        send(
            "PUT", f"{location}{joint}digest={digest}", {"Content-Type": "application/octet-stream"}, content
        )
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": _PACKAGE,
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": _digest(b"{}"),
                "size": 2,
            },
            "layers": [{"mediaType": _PACKAGE, "digest": _digest(blob), "size": len(blob)}],
        }
    ).encode()
    send("PUT", f"manifests/{_digest(body)}", {"Content-Type": MANIFEST}, body)
    return {"mediaType": MANIFEST, "digest": _digest(body), "size": len(body)}


def image_indexes(
    project: str, versions: int, files: int, manifest: dict[str, object]
) -> Iterator[tuple[str, bytes]]:
    """Tags and their documents, of `files` files each."""
    for number in range(versions):
        version = f"1.{number}"
        document = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "artifactType": _PACKAGE,
            "manifests": [{**manifest, **_entry(project, version, suffix)} for suffix in _SUFFIXES[:files]],
            "annotations": {"org.opencontainers.image.created": _CREATED},
        }
        yield version, json.dumps(document, separators=(",", ":")).encode()


def put_document(send: Send, tag: str, document: bytes) -> None:
    send("PUT", f"manifests/{tag}", {"Content-Type": INDEX}, document)


def _entry(project: str, version: str, suffix: str) -> dict[str, object]:
    """The descriptor of one file, with its annotations."""
    joint = "" if suffix.startswith(".") else "-"
    name = f"{project.replace('-', '_')}-{version}{joint}{suffix}"
    annotations = {
        "org.opencontainers.image.created": _CREATED,
        "com.pyoci.sha256_digest": hashlib.sha256(name.encode()).hexdigest(),
        "com.pyoci.project_urls": '{"Homepage":"https://example.org"}',
        "com.pyoci.filename": name,
        "com.pyoci.size": "20480",
        "com.pyoci.requires_python": ">=3.9",
        "com.pyoci.config_digest": _digest(name.encode()),
    }
    if suffix.endswith(".whl"):
        annotations["com.pyoci.core_metadata"] = hashlib.sha256(version.encode()).hexdigest()
    return {"platform": {"architecture": suffix, "os": "any"}, "annotations": annotations}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
