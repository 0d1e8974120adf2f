"""The blocks and workers of this package, for other projects. Tasks are in `tasks`."""

from typing import TYPE_CHECKING, Any

from .blocks import *  # noqa: F403 - its `__all__` is the list

if TYPE_CHECKING:
    from .workers import *  # noqa: F403 - its `__all__` is the list
else:
    # Imported on first use: Prefect's workers take 0.2 s to import, and flow runs do not need them.
    def __getattr__(name: str) -> Any:
        if name[:1].isupper():  # a class, not a submodule
            from . import workers

            if name in workers.__all__:
                return getattr(workers, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        from . import workers

        return [*globals(), *workers.__all__]
