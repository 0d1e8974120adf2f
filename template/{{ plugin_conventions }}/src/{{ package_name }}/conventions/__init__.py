"""House conventions: the organisation's defaults for flows and tasks, in two decorators."""

from .decorators import house_flow, house_task, tags_of

__all__ = ["house_flow", "house_task", "tags_of"]
