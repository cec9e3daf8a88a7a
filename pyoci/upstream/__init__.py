"""Another package index, such as PyPI: its simple API is read and remembered. Nothing is written to it."""
