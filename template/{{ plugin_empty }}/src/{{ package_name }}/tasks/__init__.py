"""Tasks: the steps that flows take with the system."""

__all__: list[str] = []
