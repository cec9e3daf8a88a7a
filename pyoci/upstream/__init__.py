"""Another package index, such as PyPI: its pages are requested and cached. Nothing is written to it."""
