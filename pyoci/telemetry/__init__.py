"""Logs, traces and metrics of requests, and of the calls to registries and upstream that they cause."""
