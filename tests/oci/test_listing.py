"""Lists of tags and repositories, in pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.errors import ProtocolError, Unreachable
from pyoci.net.messages import Answer
from pyoci.net.reading import next_link
from pyoci.oci.errors import RegistryError, registry_error
from pyoci.oci.listing import read_listing

START = "https://r.example/v2/a/tags/list?n=1000"


def page(tags: Any, link: str | None = None, **extra: Any) -> Answer:
    headers = {"link": f'<{link}>; rel="next"'} if link else {}
    return Answer(200, headers, json.dumps({"name": "a", "tags": tags} | extra).encode())


class Pages:
    """Answers by URL, and records the requests."""

    def __init__(self, pages: dict[str, Answer | int]) -> None:
        self.pages, self.asked = pages, list[str]()

    def __call__(self, url: str) -> Answer:
        self.asked.append(url)
        found = self.pages[url]
        if isinstance(found, int):
            raise registry_error("list tags", "r.example", found, {}, b"")
        return found


def read(
    pages: Callable[[str], Answer], start: str = START, clock: Callable[[], float] = lambda: 0.0
) -> tuple[str, ...]:
    return read_listing(pages, start, "tags", lambda _page, link: link, clock)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        pytest.param(["b", "a"], ("b", "a"), id="unsorted, as docker-registry 2.8.2"),
        pytest.param(None, (), id="null, as docker-registry 2.8.2 when empty"),
        pytest.param([], (), id="empty"),
        pytest.param(["a", "b", "a"], ("a", "b"), id="repeated"),
        pytest.param(["a", 1, None, {}, ["b"]], ("a",), id="not all texts"),
        pytest.param(["sha256:00", "a"], ("sha256:00", "a"), id="digests, as Artifactory"),
        pytest.param(["a" * 10_000, "b"], ("b",), id="a text as long as no tag"),
    ],
)
def test_one_page_is_read(tags: Any, found: tuple[str, ...]) -> None:
    """Null, unsorted, repeated, or with invalid entries."""
    assert read(Pages({START: page(tags)})) == found


def test_unknown_keys_are_ignored() -> None:
    """Google AR adds `child`, `manifest` and others."""
    assert read(Pages({START: page(["a"], child=[], manifest={"sha256:0": {}})})) == ("a",)


def test_pages_are_followed() -> None:
    """To the last page; each entry is returned once."""
    pages = Pages({START: page(["a"], "/2"), "/2": page(["b"], "/3"), "/3": page(["c", "b"])})
    assert read(pages) == ("a", "b", "c")
    assert pages.asked == [START, "/2", "/3"]


def test_a_needless_link_ends() -> None:
    """Gitea and Forgejo send a Link with every page that isn't empty."""
    pages = Pages({START: page(["a"], "/2"), "/2": page(None, "/3")})
    assert read(pages) == ("a",)
    assert pages.asked == [START, "/2"]


def test_pages_that_repeat_end() -> None:
    """A Link to the same page again brings no new entries."""
    pages = Pages({START: page(["a"], START)})
    assert read(pages) == ("a",)
    assert len(pages.asked) == 2


def test_number_of_pages_has_a_limit() -> None:
    """A hostile registry always has another tag."""

    def endless(url: str) -> Answer:
        number = int(url.rpartition("/")[2] or 0) if url != START else 0
        return page([f"tag{number}"], f"/{number + 1}")

    with pytest.raises(ProtocolError, match="more than 500 pages"):
        read(endless)


def test_entries_and_bytes_have_a_limit() -> None:
    """For all pages together."""

    def many(url: str) -> Answer:
        number = 0 if url == START else int(url)
        return page([f"{number}-{entry}" for entry in range(50_000)], str(number + 1))

    def long(url: str) -> Answer:
        number = 0 if url == START else int(url)
        return page([f"t{number}", "x" * 4_000_000], str(number + 1))

    for pages in (many, long):
        with pytest.raises(ProtocolError, match="too long"):
            read(pages)


def test_list_has_a_time_limit() -> None:
    """Thirty seconds for all pages together."""
    times = iter(range(0, 1000, 11))
    pages = Pages({START: page(["a"], "/2"), "/2": page(["b"], "/3"), "/3": page(["c"], "/4")})
    with pytest.raises(Unreachable, match="30 seconds"):
        read(pages, clock=lambda: next(times))
    assert len(pages.asked) == 3


@pytest.mark.parametrize("status", [400, 405, 406, 416, 422])
def test_list_is_requested_without_n_if_n_is_refused(status: int) -> None:
    """AWS ECR and distribution refuse a large n."""
    plain = START.partition("?")[0]
    pages = Pages({START: status, plain: page(["a"])})
    assert read(pages) == ("a",)
    assert pages.asked == [START, plain]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 503])
def test_other_refusals_are_final(status: int) -> None:
    """They don't concern n."""
    pages = Pages({START: status})
    with pytest.raises(RegistryError) as caught:
        read(pages)
    assert caught.value.status == status
    assert len(pages.asked) == 1


def test_list_that_changes_meanwhile_is_an_error() -> None:
    """zot answers 404 if the entry to start after was just deleted. The incomplete list
    would look complete.
    """
    with pytest.raises(ProtocolError, match="changed while"):
        read(Pages({START: page(["a"], "/2"), "/2": 404}))


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"1", b"null", b"{}x", b'{"tags": {}}', b'{"tags": "a"}', b'{"tags": 1}'],
)
def test_a_list_of_the_wrong_shape_is_a_protocol_error(body: bytes) -> None:
    """The message is one sentence."""
    with pytest.raises(ProtocolError, match="the registry sent a list of tags"):
        read(Pages({START: Answer(200, {}, body)}))


def test_a_list_without_its_key_is_empty() -> None:
    """Some registries leave `tags` out if there are none."""
    assert read(Pages({START: Answer(200, {}, b'{"name": "a"}')})) == ()


@pytest.mark.parametrize(
    ("header", "link"),
    [
        ('</v2/a/tags/list?last=b&n=2>; rel="next"', "/v2/a/tags/list?last=b&n=2"),
        ("</a>; rel=next", "/a"),
        ("</a>;rel=NEXT;title=x", "/a"),
        ('</a>; rel="prev next"', "/a"),
        ('</a>; rel="prev", </b>; rel="next"', "/b"),
        ('<https://other.example/a>; title="x, y"; rel="next"', "https://other.example/a"),
        ('</a>; rel="prev"', None),
        ("</a>; rel=nextish", None),
        ("</a>", None),
        ("/a; rel=next", None),
        ("<>; rel=next", None),
        ("", None),
    ],
)
def test_a_link_is_read(header: str, link: str | None) -> None:
    """RFC 8288, as far as registries use it."""
    assert next_link(header) == link


@given(st.text() | st.text(alphabet='<>;,= "relnxt', max_size=500))
def test_no_link_raises(header: str) -> None:
    """A registry may send anything there."""
    next_link(header)
