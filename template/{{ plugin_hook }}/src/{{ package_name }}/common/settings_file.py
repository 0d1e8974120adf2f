"""The organisation's settings file: environment variables that Prefect's processes start with.

    [environment]
    PREFECT_API_URL = "https://prefect.example.com/api"
    HTTPS_PROXY = "http://proxy.example.com:3128"

Variables that are already set stay: in the environment, a profile, `prefect.toml` or the like. This
module is imported while Prefect itself is, so it imports Prefect inside of functions.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import sys
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = __name__.partition(".")[0]

VARIABLE = f"{PACKAGE.upper()}_SETTINGS_FILE"
"""Path of the file, if it is not in one of the default places."""


def find() -> Path | None:
    """Return the file: named by `VARIABLE`, or the user's, or the machine's."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if sys.platform == "win32":
        folders = [os.environ.get("APPDATA"), os.environ.get("PROGRAMDATA")]
    else:
        home = os.environ.get("HOME")
        folders = [os.environ.get("XDG_CONFIG_HOME") or (home and f"{home}/.config"), "/etc"]
    places = [Path(f, PACKAGE.replace("_", "-"), "settings.toml") for f in folders if f]
    return next((place for place in places if place.is_file()), None)


@functools.cache  # `prefect plugins diagnose` calls the hook again
def apply(path: Path) -> str:
    """Set the variables of a file that are not set yet; return a note with their names.

    Raises:
        PermanentError: The file cannot be used; nothing is set.
    """
    variables = read(path)
    taken = _taken()
    kept = sorted(name for name in variables if name.upper() in taken)
    new = {name: value for name, value in variables.items() if name not in kept}
    prefects = {name: value for name, value in new.items() if name.upper().startswith("PREFECT_")}
    if prefects and not _fit(prefects):
        # Otherwise each Prefect command would fail, without naming this file.
        wrong = [name for name, value in prefects.items() if not _fit({name: value})]
        message = f"{path}: Prefect cannot use the value of {', '.join(wrong or prefects)}."
        raise errors.PermanentError(f"{message} Nothing was set: correct the file.")
    os.environ.update(new)
    note = f"{path} sets {', '.join(sorted(new)) or 'nothing'}"
    return f"{note}; set already, and kept: {', '.join(kept)}" if kept else note


def read(path: Path) -> dict[str, str]:
    """Return the variables of a file.

    Raises:
        PermanentError: It cannot be read, is writable by everybody, or has other content.
    """
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise errors.PermanentError(f"Everybody may write to {path}: chmod o-w it.")
            content = tomllib.load(file)
    except OSError as error:
        raise errors.PermanentError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise errors.PermanentError(f"{path} is not TOML: {error}.") from None
    table = content.pop("environment", None)
    if content or not isinstance(table, dict):
        raise errors.PermanentError(f"{path} must hold the table [environment], and no other.")
    return {name: _text(path, name, value) for name, value in table.items()}


def _text(path: Path, name: str, value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise errors.PermanentError(f"{path}: {name!r} is not the name of a variable.")
    if not isinstance(value, str | int | float) or "\0" in str(value):
        raise errors.PermanentError(f"{path}: {name} must be a string, a number or a boolean.")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _taken() -> set[str]:
    """Return the names of variables that are already set, in capitals."""
    from prefect.context import get_settings_context
    from prefect.settings import DEFAULT_PROFILES_PATH, get_current_settings

    chosen = get_current_settings().to_environment_variables(exclude_unset=True)
    profile = get_settings_context().profile
    if profile.source == DEFAULT_PROFILES_PATH:  # Prefect's default profile
        for setting, value in profile.settings.items():
            if chosen.get(setting.name, "").lower() == str(value).lower():
                del chosen[setting.name]
    return {name.upper() for name in os.environ} | chosen.keys()


def _fit(new: Mapping[str, str]) -> bool:
    """Return whether Prefect accepts these variables; they are not in the environment yet."""
    from prefect.settings import Settings

    os.environ.update(new)
    try:
        with warnings.catch_warnings(action="ignore"):  # Prefect repeats them
            Settings()
    except ValueError:  # of pydantic or pydantic-settings
        return False
    finally:
        for name in new:
            del os.environ[name]
    return True
