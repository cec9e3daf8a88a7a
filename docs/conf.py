"""Sphinx's configuration: `make docs` builds these documents into build/docs, and any warning fails it."""

from __future__ import annotations

import pyoci

project = "PyOCI"
version = release = pyoci.__version__
exclude_patterns = ["examples"]
html_theme = "furo"
html_title = f"PyOCI {release}"
html_show_copyright = False
html_copy_source = False
