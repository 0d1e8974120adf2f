"""Tasks that read from the system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..blocks import names
from ..common import errors, reporting, retries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..blocks import MySystemClient
    from ..common.paging import Record

MAXIMUM = 100_000


# Not cached: records may change. Retried in addition to the attempts of each request, for a system
# that is unavailable for minutes.
@task(task_run_name="fetch-{path}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def fetch_record(
    client: MySystemClient,
    path: str,
    parameters: Mapping[str, str | int] | None = None,
) -> Record:
    """Fetch the record at a path below the base URL, such as `penguins/7`.

    Raises:
        PermanentError: The system refuses, or does not return a JSON record.
        TransientError: The system is unavailable or busy for longer than the retries last.
    """
    record = client.get(path, **(parameters or {}))
    if not isinstance(record, dict):
        raise errors.PermanentError(f"{path} is no record: read it with `client.get(path)`.")
    reporting.logger(__name__).info("Fetched %s", path)
    return record


@task(task_run_name="fetch-{path}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def fetch_records(
    client: MySystemClient,
    path: str,
    parameters: Mapping[str, str | int] | None = None,
    *,
    maximum: int = MAXIMUM,
) -> list[Record]:
    """Fetch all pages of the collection at a path below the base URL.

    All records are in memory at once. If they do not fit, process page by page:
    `for page in client.pages(path): ...`.

    Raises:
        PermanentError: The system refuses, its responses are not pages, or there are more records
            than the maximum.
        TransientError: The system is unavailable or busy for longer than the retries last.
    """
    records: list[Record] = []
    rows: list[dict[str, Any]] = []
    for page in client.pages(path, **(parameters or {})):
        rows.append({"page": len(rows) + 1, "records": len(page)})
        records += page
        if len(records) > maximum:
            message = f"{path} has more than {maximum:,} records: raise `maximum`, or use the"
            raise errors.PermanentError(f"{message} pages as they come.")
    told = f"{len(records):,} records of `{path}` in {len(rows):,} pages"
    reporting.logger(__name__).info("Fetched %s", told)
    reporting.table_artifact(reporting.artifact_key("fetched", names.SLUG, path), rows, told)
    return records
