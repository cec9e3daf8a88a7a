"""The relay of OSV's API below `<index>/+osv/`: tools audit packages without revealing private names.

A query is passed on only if the registry has answered, to this caller, that it doesn't have the project, as
for a page of upstream. All other queries get the answer that nothing is known, in their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from flask import Blueprint, Response, request

from pyoci.distributions.filenames import read_version
from pyoci.distributions.names import ProjectName
from pyoci.errors import (
    Denied,
    InvalidRequest,
    NotFound,
    PyOCIError,
    RequestEnded,
    Unauthorized,
)
from pyoci.oci.credentials import Anonymous, Credentials
from pyoci.oci.errors import RegistryUnauthorized
from pyoci.oci.references import Registry
from pyoci.store.lookup import Rules
from pyoci.store.parallel import in_threads
from pyoci.upstream.osv import OSV, QUERIES, TOKEN_LIMIT, Query, Replies
from pyoci.web import addresses, finding
from pyoci.web.body import QUERIES_BODY, read_json
from pyoci.web.context import ResolvedRequest, body, resolve, site

osv = Blueprint("osv", __name__)

JUDGING_SECONDS = 20.0  # for all names of one request; uv waits for 30 seconds
_WIDTH = 16  # names that are looked up concurrently
_ECOSYSTEM = "PyPI"
_NOTHING = b"{}"
_VERSION_LIMIT = 200  # characters
_PURL_LIMIT = 1000  # characters
_ECOSYSTEM_LIMIT = 100  # characters
_PURL = re.compile(r"pkg:/*pypi/([^/@?#]+)(?:@([^?#]*))?(?:[?#].*)?", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(r"[!-~]*")
_EXPECTED = 'expected JSON like {"package": {"name": "flask", "ecosystem": "PyPI"}, "version": "3.1.0"}'
_EXPECTED_BATCH = f'expected JSON, {{"queries": [...]}} with at most {QUERIES} queries'


@dataclass(frozen=True, slots=True)
class Relay:
    """What the relay needs: the service, whether a registry knows a caller (raises the registry's refusal),
    and the rules by which names are private.
    """

    service: OSV
    knows: Callable[[Registry, Credentials], bool]
    rules: Rules = field(default_factory=Rules)

    def accepts(self, resolved: ResolvedRequest) -> bool:
        """Whether this caller may ask for what isn't in the registry."""
        if self.rules.on_denied and isinstance(resolved.caller, Anonymous):
            return True  # as for upstream's pages
        return self.knows(resolved.registry, resolved.caller)


@osv.post(f"/<path:path>/{addresses.OSV}/v1/querybatch", provide_automatic_options=False)
def query_batch(path: str) -> Response:
    """The identifiers of known vulnerabilities, for each of many projects."""
    relay, resolved = _opened(path)
    match read_json(body(), QUERIES_BODY, _EXPECTED_BATCH):
        case {"queries": list(listed)} if len(listed) <= QUERIES:
            queries = [_read_query(each) for each in listed]
        case _:
            raise InvalidRequest(f"the body has the wrong content; {_EXPECTED_BATCH}")
    known = relay.service.batch
    return _answer(
        queries, resolved, relay, known, lambda bodies: b'{"results":[' + b",".join(bodies) + b"]}"
    )


@osv.post(f"/<path:path>/{addresses.OSV}/v1/query", provide_automatic_options=False)
def query(path: str) -> Response:
    """The known vulnerabilities of one project."""
    relay, resolved = _opened(path)
    asked = _read_query(read_json(body(), QUERIES_BODY, _EXPECTED))
    return _answer([asked], resolved, relay, lambda queries: relay.service.query(*queries), b"".join)


@osv.get(f"/<path:path>/{addresses.OSV}/v1/vulns/<identifier>", provide_automatic_options=False)
def vulnerability(path: str, identifier: str) -> Response:
    """One vulnerability, for callers that the index's registry knows."""
    relay, resolved = _opened(path)
    if not relay.accepts(resolved):
        raise _unknown_caller()
    found = relay.service.vulnerability(identifier)
    return _json(found.bodies[0], found.age)


def _opened(path: str) -> tuple[Relay, ResolvedRequest]:
    """The relay, and the request for the root of the package index."""
    resolved, relay = resolve(path), site().osv
    resolved.namespace()
    if relay is None:
        raise NotFound(
            "this server relays no questions about vulnerabilities; PYOCI_OSV_URL switches that on"
        )
    return relay, resolved


def _answer(
    queries: Sequence[Query | None],
    resolved: ResolvedRequest,
    relay: Relay,
    ask: Callable[[list[Query]], Replies],
    join: Callable[[list[bytes]], bytes],
) -> Response:
    """The answers to `queries` in their places. Those that may not be passed on are answered with nothing."""
    named = {each.name for each in queries if each is not None}
    permitted = _permitted(named, resolved, relay)
    passed = {n: each for n, each in enumerate(queries) if each is not None and each.name in permitted}
    bodies, age = [_NOTHING] * len(queries), None
    if passed:
        replies = ask(list(passed.values()))
        age = replies.age
        for number, reply in zip(passed, replies.bodies, strict=True):
            bodies[number] = reply
    answer = _json(join(bodies), age)
    withheld = len(queries) - len(passed)
    if withheld:
        answer.headers["X-PyOCI-Not-Asked"] = str(withheld)
    site().events.info("web", "vulnerabilities asked for", queries=len(queries), not_asked=withheld)
    return answer


def _json(content: bytes, age: float | None) -> Response:
    answer = Response(content, content_type="application/json")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    if age is not None:
        answer.headers["X-PyOCI-Upstream"] = f"stale; age={age:.0f}"  # as for upstream's pages
    return answer


# Which names may leave


def _permitted(names: Iterable[str], resolved: ResolvedRequest, relay: Relay) -> set[str]:
    """The names that another service may be told. Raises Unauthorized to callers whom the registry doesn't
    know, and the registry's error if it could not say anything about any of the names.
    """
    judged = [
        (name, request_for)
        for name in names
        if (request_for := _request_for(name, resolved, relay)) is not None
    ]
    late = "the registry takes too long to say which of these projects it has; try again later"
    outcomes = in_threads(_width(resolved), lambda each: _judge(each[1]), judged, JUDGING_SECONDS, late)
    request.environ.pop("pyoci.project", None)  # each look-up has set it, for the log
    refusals = [each for each in outcomes if isinstance(each, PyOCIError)]
    _raise_for(refusals, len(refusals) == len(outcomes), resolved, relay)
    return {name for (name, _), outcome in zip(judged, outcomes, strict=True) if outcome is True}


def _request_for(name: str, resolved: ResolvedRequest, relay: Relay) -> ResolvedRequest | None:
    """The request for the page of a project; None if its name is private, or if upstream isn't asked below
    this index.
    """
    project = ProjectName(name)
    try:
        repository = resolved.namespace().repository(project)
    except InvalidRequest:  # the name is too long for the registry
        return None
    if relay.rules.is_private(project) or relay.rules.holds_copies(repository):
        return None
    address, more = resolved.address, (name,)
    if address.below is None:
        return replace(resolved, address=replace(address, segments=(*address.segments, *more)))
    return replace(resolved, address=replace(address, below=more))


def _judge(resolved: ResolvedRequest) -> bool | PyOCIError:
    """Whether the registry says that it doesn't have the project, or the error with which it refuses."""
    try:
        return finding.is_absent(resolved)
    except RequestEnded:
        raise
    except PyOCIError as exc:
        return exc.bare()


def _raise_for(refusals: list[PyOCIError], is_all: bool, resolved: ResolvedRequest, relay: Relay) -> None:
    """Raises the error of a request that had these refusals. A client whose first request has no credentials
    sends them after a 401, and would take anything else for an answer.
    """
    if not refusals:
        return
    for refusal in refusals:
        wrong = isinstance(refusal, RegistryUnauthorized) and refusal.wrong_credentials
        if isinstance(refusal, Unauthorized) and (wrong or isinstance(resolved.caller, Anonymous)):
            raise refusal
    if isinstance(resolved.caller, Anonymous) and not relay.accepts(resolved):
        raise _unknown_caller()
    unclear = [each for each in refusals if not isinstance(each, NotFound | Denied | InvalidRequest)]
    site().events.warning("web", "names not looked up", count=len(refusals), reason=refusals[0].kind)
    if is_all and unclear:
        raise unclear[0]


def _width(resolved: ResolvedRequest) -> int:
    return 1 if resolved.registry.scheme == "embedded" else _WIDTH


def _unknown_caller() -> Unauthorized:
    return Unauthorized("the registry doesn't know you; expected credentials that it accepts")


# Queries


def _read_query(value: object) -> Query | None:
    """A query; None if it isn't about a project of PyPI, or can't be about one. Raises InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"a query is no JSON object; {_EXPECTED}")
    version, token = _text(value.get("version"), _VERSION_LIMIT), _text(value.get("page_token"), TOKEN_LIMIT)
    package = value.get("package")
    if "commit" in value or package is None:
        return None
    if not isinstance(package, dict):
        raise InvalidRequest(f"the package of a query is no JSON object; {_EXPECTED}")
    found = _read_package(package)
    if found is None:
        return None
    name, inside = found
    if inside and version:
        raise InvalidRequest("a query has a version, and its purl has one as well; expected one of the two")
    return _checked(name, inside or version, token)


def _read_package(package: dict[str, object]) -> tuple[str, str] | None:
    """The name as spelled, and the version that a purl has; None if this isn't a package of PyPI."""
    purl, name = _text(package.get("purl"), _PURL_LIMIT), _text(package.get("name"), _PURL_LIMIT)
    ecosystem = _text(package.get("ecosystem"), _ECOSYSTEM_LIMIT)
    if purl and (name or ecosystem):
        raise InvalidRequest(
            "a package has a purl, and a name or an ecosystem as well; expected one of the two"
        )
    if not purl:
        return (name, "") if name and ecosystem == _ECOSYSTEM else None
    found = _PURL.fullmatch(purl)
    return None if found is None else (unquote(found[1]), unquote(found[2] or ""))


def _checked(name: str, version: str, token: str) -> Query | None:
    """The query with its name and version normalised; None if there can't be such a project or version.

    A local version (`1.0+acme.3`) is asked about as the public one: PyPI has no local versions, and a label
    may have private words.
    """
    try:
        project = ProjectName.parse(name)
    except InvalidRequest:
        return None
    known = read_version(version) if version else None
    if version and known is None:
        return None
    if not _TOKEN.fullmatch(token):
        raise InvalidRequest("a page_token has other characters than those of a service's answer")
    return Query(project.normalized, "" if known is None else known.public, token)


def _text(value: object, limit: int) -> str:
    """A value of JSON that has to be a text of at most `limit` characters; "" if it is missing."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(f"a field of a query is no text; {_EXPECTED}")
    if len(value) > limit:
        raise InvalidRequest(f"a field of a query has over {limit} characters")
    return value
