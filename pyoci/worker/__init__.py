"""gunicorn's worker for PyOCI: slow clients wait in its loop, and its threads do the work."""

from pyoci.worker.loop import Worker

__all__ = ["Worker"]
