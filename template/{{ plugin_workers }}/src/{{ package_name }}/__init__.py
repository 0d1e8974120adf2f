"""What other projects import: the blocks and workers of this package. Tasks are in `tasks`."""

from typing import TYPE_CHECKING, Any

from .blocks import *  # noqa: F403 - its `__all__` is the list

if TYPE_CHECKING:
    from .workers import *  # noqa: F403 - its `__all__` is the list
else:
    # Prefect's workers take 0.2 s to import, which a flow run, or a start-up hook, need not pay.
    def __getattr__(name: str) -> Any:
        if name[:1].isupper():  # a class; submodules are asked for here as well
            from . import workers

            if name in workers.__all__:
                return getattr(workers, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        from . import workers

        return [*globals(), *workers.__all__]
