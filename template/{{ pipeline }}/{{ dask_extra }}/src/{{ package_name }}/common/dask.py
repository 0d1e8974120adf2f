"""Ingests tables on Dask: a cluster on this machine, or the workers of a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_dask import DaskTaskRunner

from . import db_utils, errors, secrets

if TYPE_CHECKING:
    from .settings import Settings


def create_task_runner(config: Settings) -> DaskTaskRunner:
    """Create the Dask task runner of the settings.

    Raises:
        PermanentError: Several machines would share a database file.
    """
    if config.dask_address:
        _refuse_files(config)
        return DaskTaskRunner(address=config.dask_address)
    cluster = {"n_workers": config.max_workers, "threads_per_worker": 1}
    local = {"host": "127.0.0.1", "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs={**cluster, **local})


def _refuse_files(config: Settings) -> None:
    """Refuse database files: a scheduler's workers may run on other machines."""
    named = {"warehouse": config.warehouse_url, "source": config.source_url}
    named |= {f"source {name}": url for name, url in config.source_urls.items()}
    for what, secret in named.items():
        url = secrets.reveal(secret)
        if db_utils.file_of(db_utils.parse_url(url)) is not None:
            raise errors.PermanentError(
                f"The {what} {db_utils.describe(url)} is a file, which the workers of the Dask"
                f" scheduler {config.dask_address} may not reach: use a database server, or unset"
                " the Dask address to use this machine alone."
            )
