"""The gunicorn worker for PyOCI: its loop waits for slow clients, and its threads serve requests."""

from pyoci.worker.loop import Worker

__all__ = ["Worker"]
