"""Logs, traces and metrics of requests, and of the calls that they cause. Nothing else depends on them."""
