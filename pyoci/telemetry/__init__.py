"""Watches from outside: logs today, traces and metrics later."""
