"""Pages for people: what a browser gets at the addresses of the simple API, at `/`, and as a refusal.

A browser is known by `application/xhtml+xml` in Accept. `?format=` shows it what package clients get.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

from flask import Response, current_app, request

import pyoci
from pyoci.distributions.details import Details, read_details
from pyoci.distributions.names import ProjectName
from pyoci.errors import PyOCIError, RequestEnded, Unauthorized
from pyoci.oci.credentials import Credentials
from pyoci.oci.registries import DEFAULT
from pyoci.pages import catalogue, frame, links, usage
from pyoci.pages.description import Description, Descriptions
from pyoci.pages.project import Place, last_page, project_html
from pyoci.pages.refusals import refusal_html
from pyoci.simple_api.model import Page
from pyoci.store.models import ForeignPage, Namespace, ProjectPage, Root
from pyoci.upstream.client import UpstreamPage
from pyoci.web import answers, finding, negotiation, rendering, roots
from pyoci.web.addresses import SIMPLE
from pyoci.web.context import ResolvedRequest, locate, site

HTML = "text/html; charset=utf-8"
OPEN = "project"  # a parameter of the query, which names a project of this index
SIGN_IN = "sign-in"  # a parameter of the query, by which a browser asks for its dialogue
_SUMMARIES = "pyoci.summaries"  # their key in app.extensions
_SAFE = "/:+@-._~"  # characters of an index's path that a URL may have unencoded
_UNKNOWN = "REGISTRY/NAMESPACE"
_descriptions = lru_cache(maxsize=1)(Descriptions)  # made when the first page is


def wanted() -> bool:
    """Whether this request gets a page for people."""
    accept = request.headers.get("Accept", "")
    return (
        request.method in {"GET", "HEAD"} and negotiation.is_browser(accept) and "format" not in request.args
    )


def refuse_anonymous() -> None:
    """Have a browser ask for credentials where the registry wouldn't. Raises Unauthorized."""
    if SIGN_IN in request.args and "Authorization" not in request.headers:
        raise Unauthorized("this server asks for a user name and a password; expected those of the registry")


def opened_project() -> Response | None:
    """The way to the project that a form names, where no list leads there. Raises InvalidRequest."""
    text = request.args.get(OPEN, "").strip()
    if not text:
        return None
    answer = answers.text("see the project's page", 302)
    answer.headers["Location"] = f"{ProjectName.parse(text)}/"
    return answer


def project(found: finding.Found) -> Response:
    """The page of a project or of a version, rendered now or earlier."""
    foreign = isinstance(found.page, ForeignPage)
    page = found.content
    place, compressed = _place(found), answers.gzip_is_welcome()
    asked = frame.page_number(request.args.get("page", ""))
    # Adding up the pages takes time, and the first one is there in any case.
    number = 1 if asked == 1 or found.version is not None else min(asked, last_page(_as_page(page)))
    judgement = page.judgement if isinstance(page, UpstreamPage) and page.is_withheld else None
    if foreign:
        request.environ["pyoci.origin"] = found.origin  # for the log line

    def render(details: Details, description: Description) -> rendering.Rendered:
        content = project_html(
            _as_page(page),
            place,
            details,
            description,
            one_version=found.version is not None,
            upstream=foreign,
            withheld=judgement.counts_of_packages if judgement is not None else {},
            number=number,
        )
        return _rendered(content, compressed, found.origin, rendering.withheld(page))

    where = rendering.UPSTREAM if foreign else found.project.namespace
    key = ("people", where, page.name, found.version, place, number, compressed)
    known = site().pages.get(key, page.fingerprint) if page.fingerprint else None
    if known is None:
        details, description, final = _details(found)
        if not page.fingerprint or not final:
            return answers.rendered(render(details, description))
        known = site().pages.get_or_render(key, page.fingerprint, lambda: render(details, description))
    if number != asked:  # such addresses, of which there is no end, take up no memory
        return answers.rendered(known)
    return answers.given_again(known, key, found)


def root(found: Root, resolved: ResolvedRequest) -> Response:
    """The page of a namespace."""
    search = catalogue.Search.of(*(request.args.get(name, "") for name in ("q", "sort", "page")))
    listed = roots.described(found, resolved, search, _summaries())
    content = catalogue.root_html(
        listed, _home(), _index(_below()), search, source=roots.source_of(found) if listed else ""
    )
    return answers.rendered(_rendered(content, answers.gzip_is_welcome()))


def home() -> Response:
    """What this server is, and the lines that make tools use it."""
    registry = request.args.get("registry", "").strip().strip("/")[:200]
    namespace = request.args.get("namespace", "").strip().strip("/")[:200]
    path, mistake = "", ""
    if registry or namespace:
        path, mistake = _checked("/".join(filter(None, (registry, namespace))))
    example = DEFAULT if site().short_urls.find(DEFAULT) is not None else _UNKNOWN
    index = _index(path or example)
    chosen = request.args.get("tool", "")
    tools = usage.tools(index)
    content = frame.html(
        "home",
        home="./",
        host=request.host,
        index=index,
        registry=registry,
        namespace=namespace,
        mistake=mistake,
        opened=f"{_down()}{path}/" if path else "",
        only_short=site().short_urls.alone,
        tools=tools,
        chosen=chosen if chosen in {tool.key for tool in tools} else tools[0].key,
        version=pyoci.__version__,
    )
    answer = answers.rendered(_rendered(content, answers.gzip_is_welcome()))
    answer.status_code = 400 if mistake else answer.status_code
    return answer


def refusal(status: int, message: str) -> Response:
    """A refusal as a page; its status line and its other headers are for the caller to set."""
    registry = request.environ.get("pyoci.registry")
    content = refusal_html(
        status,
        message,
        _home(),
        registry=str(registry) if registry is not None else "",
        signed_in="Authorization" in request.headers,
        below=registry is not None and len(_below().split("/")) > 2,
    )
    answer = Response(content, content_type=HTML)
    answer.headers.extend([("Cache-Control", "no-store"), ("Vary", "Accept"), *frame.headers()])
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _checked(text: str) -> tuple[str, str]:
    """The path of a package index as a URL has it, or "" and what is wrong with it."""
    try:
        address = locate(text)
        registry = site().registries.parse(address.registry)
        if address.as_root is None:
            return (
                "",
                "That is not a package index; expected a registry and a namespace, like ghcr.io and acme.",
            )
        Namespace.parse(registry, address.as_root)
    except PyOCIError as exc:
        return "", f"{exc.message[:1].upper()}{exc.message[1:]}."
    return quote(text.lower(), safe=_SAFE), ""


def _details(found: finding.Found) -> tuple[Details, Description, bool]:
    """The metadata of the newest version on a page, its description, and whether both are complete."""
    if isinstance(found.page, ForeignPage):  # upstream isn't asked for more than the page
        return Details(), Description(), True
    try:
        text = _metadata(found.page, found.project.namespace, found.resolved.caller)
        details = read_details(text) if text else Details()
    except RequestEnded:
        raise
    except PyOCIError:  # the page is shown without, and is built again for the next visitor
        return Details(), Description(), False
    description = _descriptions().render(details.description, details.description_type)
    return details, description, description.final


def _metadata(page: ProjectPage, namespace: Namespace, caller: Credentials) -> bytes:
    file = page.described_file
    if file is None:
        return b""
    return site().store.metadata(namespace, page.name, file.filename, caller, sha256=file.sha256)


def _as_page(page: ProjectPage | UpstreamPage) -> Page:
    if isinstance(page, ProjectPage):
        return page.as_page(rendering.link)
    return rendering.with_links_here(page, "") if site().upstream_files is not None else page


def _place(found: finding.Found) -> Place:
    resolved, name = found.resolved, found.project.name
    above = 1 if found.version is None else 2
    segments = _below().split("/")[:-above]
    if segments[-1:] == [SIMPLE]:
        segments.pop()
        above += 1
    page = "" if isinstance(found.page, ForeignPage) else _registry_page(found.project.namespace, name)
    return Place(
        home=_home(),
        project=found.up,
        index=_index("/".join(segments)),
        root="../" * above,
        registry=str(resolved.registry),
        registry_page=page,
    )


def _registry_page(namespace: Namespace, name: ProjectName) -> str:
    """The registry's own page of a project. An alias may stand for an address that nobody should see."""
    if namespace.registry.alias:
        return ""
    return links.registry_page(namespace.registry.host, namespace.repository(name).name)


def _rendered(
    content: bytes, compressed: bool, origin: str = rendering.REGISTRY, withheld: str = ""
) -> rendering.Rendered:
    return rendering.Rendered.of(
        content,
        HTML,
        compressed=compressed,
        origin=origin,
        withheld=withheld,
        html_headers=frame.headers(),
    )


def _index(path: str) -> usage.Index:
    base = f"{request.root_url.rstrip('/')}{site().path}/"
    return usage.Index(base, quote(path, safe=_SAFE), upstream=site().upstream)


def _below() -> str:
    """The requested path below this site's prefix, without outer slashes."""
    return request.path.removeprefix(site().path).strip("/")


def _home() -> str:
    """The relative link to `/`, or to the site's prefix. It is right behind proxies with a prefix, too."""
    return "../" * request.path.removeprefix(site().path).removeprefix("/").count("/") or "./"


def _down() -> str:
    """The relative link from the home page to where package indexes are."""
    prefix = site().path.strip("/")
    return f"./{prefix}/" if prefix and not request.path.startswith(site().path) else "./"


def _summaries() -> roots.Summaries:
    """The application's, made when it is first needed."""
    known: roots.Summaries | None = current_app.extensions.get(_SUMMARIES)
    return known or current_app.extensions.setdefault(_SUMMARIES, roots.Summaries())
