"""The HTTP client: connections, timeouts, retries, and the addresses that may be reached. Independent of the
registry API and of packages, except that messages mention registries.
"""
