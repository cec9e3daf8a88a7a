"""The road: pools, timeouts, retries, address rules. Knows neither registries nor packages."""
