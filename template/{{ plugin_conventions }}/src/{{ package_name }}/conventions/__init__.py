"""House conventions: what every flow and task of the organisation has, in two decorators."""

from .decorators import house_flow, house_task, tags_of

__all__ = ["house_flow", "house_task", "tags_of"]
