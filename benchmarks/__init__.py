"""Benchmarks of PyOCI's speed and memory, compared with others. README.rst describes each row."""
