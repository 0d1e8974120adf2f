"""Workers: how flow runs of a deployment become processes."""

from .limited import LimitedProcessWorker

__all__ = ["LimitedProcessWorker"]
