"""A program that renders a description: reads its media type in a line and then its text, writes safe HTML.

It runs in a process of its own, because docutils can take minutes for a few kilobytes and a thread can't be
stopped. The process has limits on its time and its memory, and no credentials in its environment. Its exit
code isn't 0 if the text can't be rendered; then the caller shows the text itself.

What it writes has no images, forms, scripts, styles, or identifiers of the page's own. Images become links.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from contextlib import suppress
from html import escape
from html.parser import HTMLParser
from urllib.parse import urlsplit

_CPU = 4  # seconds
_MEMORY = 384 * 1024 * 1024  # bytes of address space; the largest texts are rendered in 256 MB
_OUTPUT = 2 * 1024 * 1024  # characters
_HEADINGS = {"h1": "h3", "h2": "h4", "h3": "h5", "h4": "h6", "h5": "h6", "h6": "h6"}
_IDS = "user-content-"
_SHORT = 2  # characters of the Pygments classes that pages colour; other classes of a page are longer
_EMPTY_LINK = re.compile(r"<a [^<>]*>\s*</a>")
_TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "dd", "del", "details", "div", "dl"),
    *("dt", "em", "h3", "h4", "h5", "h6", "hr", "i", "kbd", "li", "ol", "p", "pre", "s", "span", "strong"),
    *("sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "tt", "ul", "var"),
}
_ATTRIBUTES = {
    "*": {"id"},
    "a": {"href", "title"},
    "abbr": {"title"},
    "ol": {"start"},
    "pre": {"tabindex"},
    "span": {"class"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}


class Rewriter(HTMLParser):
    """Rewrites clean HTML: images become links, headings go two levels down, checkboxes become characters."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._links: list[bool] = []  # for each open `a`: whether it was written

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "img":
            self._write_image(values)
        elif tag == "input":
            self.parts.append("\N{BALLOT BOX WITH CHECK} " if "checked" in values else "\N{BALLOT BOX} ")
        else:
            if tag == "a":
                values = self._link(values)
                self._links.append("href" in values)
            elif tag == "pre":
                values["tabindex"] = "0"  # it scrolls sideways, which a keyboard has to reach
            self._open(_HEADINGS.get(tag, tag), values)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._links:
            self._links.pop()
        self.parts.append(f"</{_HEADINGS.get(tag, tag)}>")

    def handle_data(self, data: str) -> None:
        self.parts.append(escape(data))

    def _open(self, tag: str, values: dict[str, str]) -> None:
        if "id" in values and not values["id"].startswith(_IDS):
            values["id"] = _IDS + values["id"]
        if len(values.get("class", "")) > _SHORT:
            del values["class"]
        attributes = "".join(f' {name}="{escape(value)}"' for name, value in values.items())
        self.parts.append(f"<{tag}{attributes}>")

    def _link(self, values: dict[str, str]) -> dict[str, str]:
        """Only links that leave this site, and links within the description."""
        href = values.get("href", "")
        if href.startswith("#"):
            target = href[1:].removeprefix(_IDS)
            return values | {"href": f"#{_IDS}{target}"}
        return values if _leaves(href) else {k: v for k, v in values.items() if k != "href"}

    def _write_image(self, values: dict[str, str]) -> None:
        source = values.get("src", "")
        text = values.get("alt", "").strip() or urlsplit(source).path.rpartition("/")[2] or "image"
        if any(self._links) or not _leaves(source):
            self.parts.append(escape(f"[{text}]"))
        else:
            self.parts.append(f'<a href="{escape(source)}">[{escape(text)}]</a>')


def _leaves(url: str) -> bool:
    return url.lower().startswith(("https://", "http://", "mailto:"))


def render(text: str, media_type: str) -> str | None:
    """The HTML of a description; None if it can't be rendered."""
    import nh3  # loaded here: only this process pays for it

    if media_type == "text/markdown":
        from readme_renderer import markdown

        html = markdown.render(text)
    else:
        from readme_renderer import rst

        html = rst.render(text)
    if html is None or len(html) > _OUTPUT:
        return None
    rewriter = Rewriter()
    rewriter.feed(html)
    rewriter.close()
    # Headings have an empty link to themselves, which no screen reader can name. It is removed before the
    # HTML is cleaned, because nothing may edit clean HTML.
    return nh3.clean(
        _EMPTY_LINK.sub("", "".join(rewriter.parts)),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener noreferrer",
    )


def main() -> int:
    """Read standard input, write standard output."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU, _CPU))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # a sandbox may not allow it
        os.nice(5)
    media_type, _, text = sys.stdin.buffer.read().decode("utf-8", "replace").partition("\n")
    html = render(text, media_type)
    if html is None:
        return 1
    sys.stdout.buffer.write(html.encode("utf-8", "replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
