"""The HTTP client: connections, timeouts, retries, and the addresses that may be reached. It names registries
in messages, and knows neither their API nor packages.
"""
