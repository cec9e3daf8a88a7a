"""Tests of pyoci.web: HTTP requests, a small store in memory, and HTTP answers."""
