"""Quirks: where registries deviate from each other or from the distribution specification, and how PyOCI
handles that.

`QUIRKS` has a row for each: the registries, the symptom, PyOCI's handling, its module, and the test. For a
new quirk, add a row and its test. Its constants and small functions belong in this module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyoci.net.messages import Call
from pyoci.oci.models import DOCKER_LIST, DOCKER_MANIFEST, IMAGE_INDEX, IMAGE_MANIFEST

# docker-registry 2.8 answers 404 for an image index unless Accept names its type.
ACCEPT = ", ".join((IMAGE_INDEX, IMAGE_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
HTML = frozenset({"text/html", "application/xhtml+xml"})  # Google AR sends a page with 200
WRITTEN = frozenset({200, 201, 202})  # Quay has answered 202 to a written manifest
DELETED = frozenset({200, 202, 204})
# Amazon ECR refuses a larger n; distribution 3.1 reduces it to this.
PAGE_SIZE = 1000
HUB_HOST = "registry-1.docker.io"
HUB_NAMES = frozenset({"docker.io", "index.docker.io"})
MANIFEST_LIMIT = 4 * 1024 * 1024  # bytes; the specification has every registry take as much
_MAY_BE_SIZE = frozenset({"MANIFEST_INVALID", "SIZE_INVALID"})
_ABOUT_SIZE = re.compile(rb"too (?:large|big|long)|exceed|size limit", re.IGNORECASE)
_DURATION = re.compile(
    r"retry-?after:?\s*((?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:h|ms|m|us|µs|μs|ns|s))+)", re.IGNORECASE
)
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


def may_be_refusing_page_size(status: int) -> bool:
    """Whether the status of a list request may refer to `n` (Amazon ECR) instead of the list itself."""
    return 400 <= status < 500 and status not in {401, 403, 404, 408, 429}


def is_over_manifest_limit(status: int, call: Call | None, codes: Collection[str], body: bytes) -> bool:
    """Whether a registry has refused a manifest for its size. docker-registry and distribution 3 do so with
    400 and MANIFEST_INVALID, and name the reason only in `detail`; others with 409 or 413.
    """
    if call is None or call.operation != "manifest" or call.method != "PUT":
        return False
    if status not in {400, 409} or not _MAY_BE_SIZE.issuperset(codes):
        return status == 413
    return len(call.body) > MANIFEST_LIMIT or _ABOUT_SIZE.search(body) is not None


def without_delete(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Scopes without the action `delete`, for which Quay's token server answers 400."""
    return tuple(scope.replace(",delete", "") for scope in scopes)


def token_in(document: Mapping[str, Any]) -> object:
    """The token in an answer. Azure sends only `access_token`, Docker Hub both names, others `token`."""
    return document.get("token") or document.get("access_token")


def wait_in(message: str) -> int | None:
    """Whole seconds of a Go duration in the message of ghcr.io's 429; None if there is none."""
    found = _DURATION.search(message)
    if found is None:
        return None
    parts = re.findall(r"([0-9.]+)([hmsuµμn]+)", found[1].lower())
    return max(math.ceil(sum(float(number) * _UNITS[unit] for number, unit in parts)), 1)


@dataclass(frozen=True, slots=True)
class Meaning:
    """A status that a registry uses in place of the specification's, `means`. A field that is empty matches
    every call: `methods` of HTTP, `operation` as in Call, `code` of the error body. A HEAD has no body, so a
    row for it can't have a code.
    """

    status: int
    means: int
    methods: tuple[str, ...] = ()
    operation: str = ""
    code: str = ""

    def applies(self, status: int, call: Call | None, codes: Collection[str]) -> bool:
        if self.status != status or (self.code and self.code not in codes):
            return False
        if self.methods and (call is None or call.method not in self.methods):
            return False
        return not self.operation or (call is not None and call.operation == self.operation)


@dataclass(frozen=True, slots=True)
class Quirk:
    """One row. `module` is below pyoci/, `test` below tests/: `oci/test_quirks.py::test_basic_only`.

    `meanings` are for `meant_status`, which all other code asks for the meaning of a status.
    """

    registries: str
    symptom: str
    handling: str
    module: str
    test: str
    meanings: tuple[Meaning, ...] = ()


_TESTS = "oci/test_quirks.py::"
QUIRKS = (
    Quirk(
        "docker-registry 2.8, clean-up policies",
        "the manifests of untagged files are deleted",
        "a file is read by the digest of its blob, without its manifest",
        "oci/session.py",
        _TESTS + "test_a_file_needs_no_child_manifest",
    ),
    Quirk(
        "ghcr.io, Docker Hub",
        "for some seconds after a write, reads return the tag's former content",
        "an answer with a digest that our own write replaced is treated as outdated",
        "store/writing/lag.py",
        "store/writing/test_lag.py::test_a_registry_that_lags_loses_no_file",
    ),
    Quirk(
        "ghcr.io, Docker Hub, docker-registry 2.8, Harbor, Pulp, zot, Google AR",
        "a refused DELETE has status 400, 404, 405 or 412",
        "each is mapped to the kind of error that it means",
        "oci/errors.py",
        _TESTS + "test_refused_deletes_are_distinguished",
        (Meaning(400, 405, code="UNSUPPORTED"),),  # docker-registry 2.8, for a tag
    ),
    Quirk(
        "Amazon ECR",
        "the challenge is Basic, and its realm issues no tokens",
        "the credentials are sent to the registry",
        "oci/auth.py",
        _TESTS + "test_basic_only",
    ),
    Quirk(
        "Harbor",
        "after a bad Bearer token the challenge is Basic",
        "one call answers up to two challenges",
        "oci/wire.py",
        _TESTS + "test_basic_after_a_bad_bearer",
    ),
    Quirk(
        "Pulp, Gitea, zot and others",
        "challenges have repeated or unquoted parameters, or lack some",
        "they are parsed leniently",
        "oci/challenges.py",
        "oci/test_challenges.py::test_every_registrys_challenge_is_read",
    ),
    Quirk(
        "Docker Hub, Harbor, ghcr.io",
        "a missing repository is a 401, 403 or 404",
        "each is raised as its own kind; an upload continues, and its answer decides",
        "oci/session.py",
        _TESTS + "test_the_first_upload",
    ),
    Quirk(
        "Quay",
        "the token server refuses a scope with delete",
        "it is requested only where the challenge names it, then without it",
        "oci/tokens.py",
        "oci/test_auth.py::test_quay_is_not_asked_to_delete",
    ),
    Quirk(
        "Gitea, docker-registry, registries behind a proxy that terminates TLS",
        "Location is relative, has a query, or says http",
        "it is resolved, its query stays, and http becomes https on the same host",
        "oci/targets.py",
        _TESTS + "test_locations",
    ),
    Quirk(
        "Harbor, storage hosts",
        "cookies are refused; a tar.gz is sent with Content-Encoding: gzip",
        "no cookie is kept, and blobs are never decoded",
        "net/transport.py",
        _TESTS + "test_blobs_are_not_decompressed",
    ),
    Quirk(
        "docker-registry 2.8",
        "an image index is a 404 unless Accept names its type",
        "Accept always names all types",
        "oci/session.py",
        _TESTS + "test_accept_names_all_types",
    ),
    Quirk(
        "docker-registry 2.8, Artifactory, Google AR",
        "a list of tags is null, unsorted, or has digests and unknown keys",
        "what can't be a tag is ignored",
        "oci/listing.py",
        _TESTS + "test_tags",
    ),
    Quirk(
        "Amazon ECR",
        "a list with a large n is refused",
        "n is 1000; a refusal that may be about n is followed by a request without it",
        "oci/listing.py",
        _TESTS + "test_without_n",
    ),
    Quirk(
        "Gitea, Forgejo",
        "each page has a Link, even the last",
        "reading ends at a page with nothing new",
        "oci/listing.py",
        "oci/test_listing.py::test_a_needless_link_ends",
    ),
    Quirk(
        "ghcr.io, Google AR, docker-registry 2.8",
        "PATCH over 4 MiB, chunks, or POST with a digest are refused or ignored",
        "an upload is one POST without a body and one PUT with its length",
        "oci/uploads.py",
        _TESTS + "test_one_post_and_one_put",
    ),
    Quirk(
        "Pulp",
        "a wrong digest is accepted",
        "digests are verified in both directions",
        "oci/session.py",
        _TESTS + "test_digests_are_verified_in_both_directions",
    ),
    Quirk(
        "docker-registry 2.8",
        "a 416 announces a body that never comes",
        "the body of a 416 is not read",
        "net/transport.py",
        _TESTS + "test_a_range_past_the_end",
    ),
    Quirk(
        "ghcr.io",
        "a 429 has a Go duration in its message",
        "it is parsed, waited for within the deadline, or passed on in seconds",
        "oci/errors.py",
        _TESTS + "test_429",
    ),
    Quirk(
        "Docker Hub",
        "the registry of docker.io has another host",
        "its names lead to that host",
        "oci/registries.py",
        "oci/test_registries.py::test_docker_hub_is_one_registry",
    ),
    Quirk(
        "zot",
        "its list of repositories has what strangers may read, with 200, and no challenge",
        "credentials are sent for that list where a 200 of /v2/ has a challenge",
        "oci/ping.py",
        "flows/test_strangers.py::test_registry_that_lists_less_to_anonymous_callers",
    ),
    Quirk(
        "olareg",
        "a missing repository is a 200 with an empty list of tags",
        "the page has no files, and upstream isn't asked",
        "store/lookup.py",
        "store/test_lookup.py::test_an_empty_list_of_tags_is_no_absence",
    ),
    Quirk(
        "docker-registry, distribution 3, zot",
        "a manifest over 4 MiB is a 400 or 413 that says `manifest invalid`",
        "the refusal says that it is too large, and how large it is",
        "oci/errors.py",
        _TESTS + "test_a_manifest_over_the_limit",
    ),
    Quirk(
        "docker-registry 2.8",
        "of two uploads of the same blob at the same time, one is a 400 with DIGEST_INVALID, or its manifest"
        " a 400 with MANIFEST_BLOB_UNKNOWN",
        "the blob or the manifest is sent again",
        "oci/uploads.py",
        "oci/test_uploads.py::test_the_same_blob_is_uploaded_at_the_same_time",
    ),
    Quirk(
        "ghcr.io",
        "repositories are not listed",
        "GitHub's REST API is asked for the packages of the owner",
        "oci/github.py",
        "oci/test_github.py::test_all_pages_are_read",
    ),
    Quirk(
        "zot, go-containerregistry",
        "tags outside the grammar are accepted and listed",
        "they can be read",
        "oci/references.py",
        _TESTS + "test_tags_outside_the_grammar",
    ),
)

_MEANINGS = tuple(meaning for quirk in QUIRKS for meaning in quirk.meanings)


def meant_status(
    status: int, call: Call | None, codes: Collection[str] = (), meanings: Iterable[Meaning] = _MEANINGS
) -> int:
    """The status that the specification has for what an answer means. `codes` are those of the error body, if
    it was read.
    """
    return next((row.means for row in meanings if row.applies(status, call, codes)), status)
