"""A private Python package index that keeps its packages in an OCI registry."""

__version__ = "0.1.0"
