"""Settings: what the operator decided, read from the environment. All mistakes are reported together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from pyoci.config.environment import Reader, WrongSettings, topics
from pyoci.config.packages import PackageSettings
from pyoci.config.serving import ServerSettings


@dataclass(frozen=True, kw_only=True)
class Settings(ServerSettings, PackageSettings):
    """Every setting. `warnings` are sentences for the log about settings that are probably not meant so."""

    warnings: tuple[str, ...]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the environment. Raises WrongSettings, which lists every mistake in it."""
        reader = Reader(cls, environ)
        settings = cls(**reader.values(), warnings=())
        mistakes = [*reader.mistakes, *_contradictions(settings)]
        if mistakes:
            raise WrongSettings("PyOCI can't start with these settings:\n  " + "\n  ".join(mistakes))
        return replace(settings, warnings=(*reader.warnings, *_doubts(settings), *reader.unknown()))


def _contradictions(settings: Settings) -> Iterator[str]:
    """Mistakes in settings that are right by themselves."""
    if settings.embedded_htpasswd is not None and settings.embedded is None:
        yield "PYOCI_EMBEDDED_HTPASSWD is set without PYOCI_EMBEDDED; expected both"
    if settings.cache.kind == "memory" and settings.workers > 1:
        yield (
            f"PYOCI_CACHE_URL: memory:// is that of one process, and there are to be {settings.workers}; "
            "expected WEB_CONCURRENCY=1 with it, or file://"
        )


def _doubts(settings: Settings) -> Iterator[str]:
    """Warnings about settings that are probably not meant so."""
    upstream = settings.upstream
    if upstream is not None and settings.upstream_on_denied and not settings.private_projects.patterns:
        yield (
            "PYOCI_UPSTREAM_ON_DENIED without PYOCI_PRIVATE_PROJECTS: a caller who may not read a private "
            "project gets the project of that name from upstream, whoever published it there"
        )
    if (
        upstream is not None
        and upstream.authorization is not None
        and settings.registries.anyone
        and not settings.short_urls.alone
    ):
        yield (
            "PYOCI_UPSTREAM_AUTH without PYOCI_REGISTRIES: whoever names a registry of their own, which "
            "lacks all projects, sees the pages that these credentials open; list your registries"
        )
    if settings.cache_key and settings.cache.kind != "redis":
        yield (
            "PYOCI_CACHE_KEY has no use where PYOCI_CACHE_URL names no Redis: it signs what is "
            "remembered there, and nothing else"
        )
    if upstream is not None and "simple" not in upstream.url:
        yield (
            "PYOCI_UPSTREAM_INDEX: most simple APIs have `simple` in their URL, and this one hasn't; "
            "where it is another page, no project is found"
        )


TOPICS = topics(Settings)  # PackageSettings' first
