"""Publish, yank, delete and look, in any order, by several callers at several servers; see story.py.

`make torture` plays many more.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.store.story import Story

Story.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestStory = Story.TestCase
