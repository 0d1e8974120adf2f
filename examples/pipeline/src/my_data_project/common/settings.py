"""Settings: one class, filled from the environment and, for local work, from `.env`."""

from __future__ import annotations

import shlex
from typing import Literal, get_args

from pydantic import Field, PositiveInt, SecretStr

from . import environment

ENV_PREFIX = environment.PREFIX
PROJECT = "my-data-project"
POOL = "my-data-project"
RELEASE_TAG = "v"
"""How git tags of versions begin."""


class Settings(environment.EnvironmentSettings):
    """The settings that differ between environments."""

    environment: str = Field(
        default="dev",
        min_length=1,
        description="Name of the environment; part of the deployments' names.",
    )
    work_pool: str = Field(
        default=f"{POOL}-dev", min_length=1, description="Work pool that runs the deployments."
    )
    work_pool_type: str = Field(
        default="process", description="Type of the work pool, if `deploy` creates it."
    )
    source_url: SecretStr = Field(
        default=SecretStr("sqlite:///data/source.db"),
        description="Database to read from, as an SQLAlchemy URL.",
    )
    source_urls: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="More databases to read from, by name: SOURCE_URLS__CRM is `source='crm'`.",
    )
    warehouse_url: SecretStr = Field(
        default=SecretStr("duckdb:///data/warehouse.duckdb"),
        description="Warehouse to write to, as a URL.",
    )
    # If the name is empty or has a quote, dlt uses another one.
    raw_schema: str = Field(
        default="raw", pattern="""^[^'"]+$""", description="Schema of ingested tables."
    )
    marts_schema: str = Field(
        default="marts", pattern="""^[^'"]+$""", description="Schema of derived tables."
    )
    sql_dialect: str = Field(
        default="duckdb", description="SQL dialect of the files in `sql/`, by sqlglot's name."
    )
    batch_bytes: PositiveInt = Field(
        default=64 * 2**20, description="About how many bytes of rows to hold in memory."
    )
    lock_timeout_seconds: float = Field(
        default=600, ge=0, description="How long a run waits for another in the warehouse."
    )
    task_runner: Literal["threads", "processes"] = Field(
        default="threads", description="What ingests tables in parallel."
    )
    max_workers: PositiveInt = Field(
        default=4, description="How many tables to read at the same time."
    )
    slack_webhook_url: SecretStr | None = Field(
        default=None, description="Incoming webhook for alerts; empty sends no alerts."
    )
    late_after_seconds: int = Field(
        default=600, ge=10, description="How late a run may start before an alert is sent."
    )
    lost_after_seconds: int = Field(
        default=600,
        ge=10,
        description="How long a run may send no heartbeat; Prefect sends one every 180 s.",
    )
    slack_channel: str | None = Field(
        default=None, description="Channel for alerts; empty takes the webhook's default."
    )


def load() -> Settings:
    """Read the current settings.

    Raises:
        PermanentError: A variable holds a value that does not fit.
    """
    return Settings.read()


def command(*words: str) -> str:
    """Return a command of this project as users type it."""
    return shlex.join(("uv", "run", PROJECT, *words))


def secret_texts() -> dict[str, str]:
    """Return the values of secret settings, by the names that the command `secret` takes.

    A value is the secret, or `block:` and the name of its Secret block; empty if it is not set.

    Raises:
        PermanentError: A variable holds a value that does not fit.
    """
    config = load()
    fields: dict[str, SecretStr | None] = {
        name.replace("_", "-"): getattr(config, name)
        for name, field in Settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation)) and name != "source_urls"
    }
    fields |= {f"source-urls.{name}": url for name, url in config.source_urls.items()}
    return {name: held.get_secret_value() if held else "" for name, held in fields.items()}
