"""pyproject.toml of somebody's project, for each client that reads its package index there."""

from __future__ import annotations

_PROJECT = """\
[project]
name = "app"
version = "1.0"
requires-python = "{python}"
dependencies = ["{requirement}"]
"""
_UV = """
[[tool.uv.index]]
name = "pyoci"
url = "{url}"
default = true
"""
_POETRY = """
[tool.poetry]
package-mode = false

[[tool.poetry.source]]
name = "pyoci"
url = "{url}"
priority = "primary"
"""
# pdm's own source has this name, and the one of that name takes its place.
_PDM = """
[tool.pdm]
distribution = false

[[tool.pdm.source]]
name = "pypi"
url = "{url}"
"""
_INDEXES = {"uv": _UV, "poetry": _POETRY, "pdm": _PDM}


def pyproject(client: str, url: str, requirement: str = "hello-world", python: str = ">=3.11,<4") -> str:
    """The content of the file, with `url` as the only package index."""
    return _PROJECT.format(python=python, requirement=requirement) + _INDEXES[client].format(url=url)
