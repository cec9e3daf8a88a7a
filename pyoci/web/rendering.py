"""A page in the representation that a client requested, with the URLs that PyOCI serves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from pyoci.distributions.names import ProjectName
from pyoci.simple_api.writing import legacy_json, page_html, page_json, root_html, root_json
from pyoci.store.models import PackageFile, ProjectPage
from pyoci.upstream.client import UpstreamPage
from pyoci.web.addresses import DIGEST_DIGITS
from pyoci.web.negotiation import Representation

_NEEDS_NO_QUOTING = re.compile(r"[A-Za-z0-9._-]+")


def render_page(page: ProjectPage | UpstreamPage, shape: Representation, up: str = "") -> bytes:
    """The page of one project. `up` is the relative path from the requested address to the project's own.
    Links to upstream's files are absolute, because clients download those from upstream.
    """
    if isinstance(page, ProjectPage):
        shown = page.as_page(lambda file: up + link(file))
        return page_json(shown) if shape.is_json else page_html(shown)
    # The order of keys in upstream's pages must not change, since that would change all their ETags.
    return page_json(page, files_last=False) if shape.is_json else page_html(page)


def render_legacy(page: ProjectPage | UpstreamPage, base: str = "", summary: str = "") -> bytes:
    """The legacy JSON of one project. Links to the registry's files start with `base`, a URL that ends with a
    slash.
    """
    if isinstance(page, ProjectPage):
        return legacy_json(page.as_page(lambda file: base + link(file)), summary)
    return legacy_json(page)


def render_root(projects: Iterable[ProjectName], shape: Representation) -> bytes:
    """The list of the projects in one namespace."""
    names = [project.normalized for project in projects]
    return root_json(names) if shape.is_json else root_html(names)


def link(file: PackageFile) -> str:
    """The file's URL, relative to its page, with the first digits of its sha256: a file that was deleted and
    published with other content has another URL. It has no query: pip appends `.metadata` to it.
    """
    filename = file.filename
    quoted = filename if _NEEDS_NO_QUOTING.fullmatch(filename) else quote(filename, safe="")
    return f"+{file.sha256[:DIGEST_DIGITS]}/{quoted}"
