"""Reads settings from the environment and, for local work, from `.env`."""

from __future__ import annotations

import difflib
import functools
import logging
from typing import Self

import pydantic_settings
from pydantic import ValidationError

from . import errors

PREFIX = f"{__name__.partition('.')[0].upper()}_"
"""What every variable begins with."""


class EnvironmentSettings(pydantic_settings.BaseSettings):
    """Settings: each field is read from the variable `PREFIX` + its name in capitals.

    A secret may name a Secret block instead, as `block:<name>` (see `common.secrets`).
    """

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",
        hide_input_in_errors=True,
    )

    @classmethod
    def read(cls) -> Self:
        """Read the current settings.

        Raises:
            PermanentError: A variable has an invalid value, or `.env` cannot be read.
        """
        try:
            sources = (pydantic_settings.EnvSettingsSource, pydantic_settings.DotEnvSettingsSource)
            for name in (name for source in sources for name in source(cls).env_vars):
                if name.startswith(PREFIX.lower()):
                    _warn_if_misspelt(name.removeprefix(PREFIX.lower()).partition("__")[0])
            return cls()
        except ValidationError as error:
            problems = "; ".join(
                f"{PREFIX}{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
                for problem in error.errors()
            )
            raise errors.PermanentError(f"Wrong settings: {problems}") from None
        except pydantic_settings.SettingsError as error:  # from a variable with several values
            message = f"Wrong settings: {error}. Write JSON, or set one variable for each value:"
            raise errors.PermanentError(f"{message} {PREFIX}<FIELD>__<NAME>=...") from None
        except (OSError, UnicodeDecodeError) as error:
            message = f".env cannot be read: {error}. It must be text in UTF-8."
            raise errors.PermanentError(message) from error


@functools.cache  # warn once for each name
def _warn_if_misspelt(name: str) -> None:
    """Warn of a name similar to a setting's; other names may be another program's."""
    known = {field for one in EnvironmentSettings.__subclasses__() for field in one.model_fields}
    if name not in known and (close := difflib.get_close_matches(name, known, 1, cutoff=0.85)):
        names = (f"{PREFIX}{one}".upper() for one in (name, *close))
        logging.getLogger(__name__).warning("%s is not a setting: did you mean %s?", *names)
