"""Refusals as pages: what was wrong, and what a visitor can do about it."""

from __future__ import annotations

import re

from pyoci.pages import frame

_TITLES = {
    401: "Sign in",
    403: "You may not see this",
    404: "There is nothing here",
    405: "This can't be done here",
    429: "Too many requests",
    502: "The registry's answer makes no sense",
    503: "Not now",
    504: "The registry doesn't answer",
}
_OTHER = {4: "This request can't be answered", 5: "Something is wrong on this server"}
# What a registry's users sign in with, by its host.
_CREDENTIALS = (
    (r"ghcr\.io", "your GitHub user name, and a classic personal access token with the scope read:packages"),
    (
        r".*\.docker\.(?:io|com)|docker\.io",
        "your Docker ID, and an access token from your account's settings",
    ),
    (r"quay\.io", "the name and the token of a robot account"),
    (r"registry\.gitlab\.com", "your GitLab user name, and a token with the scope read_registry"),
    (r".*\.amazonaws\.com", "the user name AWS, and what `aws ecr get-login-password` prints"),
    (
        r".*-docker\.pkg\.dev|gcr\.io",
        "the user name oauth2accesstoken, and what `gcloud auth print-access-token` prints",
    ),
    (r".*\.azurecr\.io", "the name and the password of a token of the registry"),
)
_ANY_CREDENTIALS = "the user name and the password or token that `docker login` takes"
_LATER = "This may end within seconds. Nothing is lost: load this page again."


def refusal_html(
    status: int, message: str, home: str, *, registry: str = "", signed_in: bool = False, below: bool = False
) -> bytes:
    """The page of a refusal. `registry` is the host that was asked, "" if the address names none that may be
    asked. `below`: whether the address is below a package index.
    """
    actions = _actions(status, registry, signed_in, below)
    return frame.html(
        "refusal",
        home=home,
        status=status,
        title=_TITLES.get(status) or _OTHER.get(status // 100, "This can't be shown"),
        message=f"{message[:1].upper()}{message[1:]}.".replace("..", "."),
        advice=_advice(status, registry, signed_in),
        actions=[*actions, ("Start page", home)],
        # A registry without a list of its projects has them all the same.
        find=("../" if below else "./") if status == 404 and registry else "",
    )


def _advice(status: int, registry: str, signed_in: bool) -> list[str]:
    name = registry[:1].upper() + registry[1:] if "." in registry else "The registry"
    credentials = next(
        (what for host, what in _CREDENTIALS if re.fullmatch(host, registry)), _ANY_CREDENTIALS
    )
    if status == 401:
        again = ["The registry rejected these credentials."] if signed_in else []
        return [*again, f"{name} decides who may read. Sign in with {credentials}."]
    if status == 403 and registry:
        if signed_in:
            return [
                "You are signed in, and the registry doesn't let you read this. Ask whoever owns it there.",
                "A private window of your browser lets you sign in as somebody else.",
            ]
        return [f"If the registry lets you read this, sign in with {credentials}."]
    if status == 403:
        return ["The operator of this server decides which registries it may ask."]
    if status == 404 and registry and not signed_in:
        hidden = f"{name} may also hide from strangers what you may read: sign in with {credentials}."
        return ["Check the spelling.", hidden]
    if status == 404:
        return ["Check the spelling. The start page writes the address of a package index for you."]
    if status in {429, 502, 503, 504}:
        return [_LATER]
    return []


def _actions(status: int, registry: str, signed_in: bool, below: bool) -> list[tuple[str, str]]:
    """Labels and relative addresses of what a visitor may do."""
    if status == 401:
        return [("Sign in", "?sign-in")]
    if status in {403, 404} and registry and not signed_in:
        return [("Sign in", "?sign-in")] + [("All projects", "../")] * below
    if status == 404 and below:
        return [("All projects", "../")]
    return [("Try again", "")] if status in {429, 502, 503, 504} else []
