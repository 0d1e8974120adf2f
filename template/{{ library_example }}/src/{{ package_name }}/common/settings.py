"""Settings: defaults of the tasks, from the environment and, for local work, from `.env`."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr

from . import environment

ENV_PREFIX = environment.PREFIX


class Settings(environment.EnvironmentSettings):
    """Settings of an environment; arguments of a task take precedence."""

    download_max_bytes: PositiveInt = Field(
        default=1_000_000_000, description="Largest file to download, in bytes."
    )
    download_timeout_seconds: PositiveFloat = Field(
        default=30, description="How long to wait while a server sends nothing, in seconds."
    )
    download_deadline_seconds: PositiveFloat = Field(
        default=3600, description="How long one download may take as a whole, in seconds."
    )
    download_token: SecretStr | None = Field(
        default=None, description="Bearer token for flows to hand to `download_data`."
    )


def load() -> Settings:
    """Read the current settings.

    Raises:
        PermanentError: A variable holds a value that does not fit.
    """
    return Settings.read()
