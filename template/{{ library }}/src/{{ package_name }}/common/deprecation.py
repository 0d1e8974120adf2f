"""How a public name is renamed without breaking anybody at once.

1. The new name does the work; the old one becomes an `Alias`, with the version that
   deprecates it and the version that will remove it.
2. Whoever imports the old name gets the new object and a `DeprecationWarning`.
3. A test fails when the version of removal is reached and the alias is still there.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, kw_only=True)
class Alias:
    """An old name.

    Attributes:
        new: The name to use instead, in the same module.
        since: Version that deprecates the old name, such as `1.4`.
        removal: Version that removes it, such as `2.0`.
    """

    new: str
    since: str
    removal: str


def aliases(module: str, names: Mapping[str, Alias]) -> Callable[[str], object]:
    """Make the `__getattr__` of a module that has old names.

    Args:
        module: Name of the module: `__name__`.
        names: Its old names.

    Returns:
        A function that finds an old name's object, with a warning.
    """

    def find(name: str) -> object:
        alias = names.get(name)
        if alias is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        message = (
            f"{module}.{name} is deprecated since {alias.since} and will be removed in"
            f" {alias.removal}: use {module}.{alias.new}."
        )
        # Level 2 is the line that imports or uses the old name.
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], alias.new)

    return find
