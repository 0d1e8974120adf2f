"""Transformation: builds derived tables from the SQL files in `sql/`."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import derived, reporting, retries, warehouse


# Not cached: it depends on what is in the warehouse, not on its arguments.
@task(task_run_name="build-{name}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def build_table(name: str) -> int:
    """Build a derived table; readers see the old one or the new one.

    Args:
        name: Name of the table, and of its file in `sql/`.

    Returns:
        How many rows it has.

    Raises:
        PermanentError: The file is missing, its SQL fails, or the name is taken.
        TransientError: The warehouse stayed unavailable for all retries.
    """
    with warehouse.connect() as opened:
        rows = derived.build(opened, name)
    reporting.logger(__name__).info("%s: %s rows", name, f"{rows:,}")
    return rows
