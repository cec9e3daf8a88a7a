"""Another package index, such as PyPI: its pages are requested and remembered. Nothing is written to it."""
