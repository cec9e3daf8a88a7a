"""Tests of the web room: HTTP in, a small store in memory behind it, HTTP out."""
