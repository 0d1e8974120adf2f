"""Tasks that work with the system."""

__all__: list[str] = []
