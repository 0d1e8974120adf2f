"""Settings: defaults of the tasks, from the environment and, for local work, from `.env`."""

from __future__ import annotations

from . import environment

ENV_PREFIX = environment.PREFIX


class Settings(environment.EnvironmentSettings):
    """Settings of an environment; arguments of a task take precedence."""


def load() -> Settings:
    """Read the current settings.

    Raises:
        PermanentError: A variable holds a value that does not fit.
    """
    return Settings.read()
