"""Reads settings from the environment and, for local work, from `.env`."""

from __future__ import annotations

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
            PermanentError: A variable holds a value that does not fit.
        """
        try:
            return cls()
        except ValidationError as error:
            problems = "; ".join(
                f"{PREFIX}{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
                for problem in error.errors()
            )
            raise errors.PermanentError(f"Wrong settings: {problems}") from None
