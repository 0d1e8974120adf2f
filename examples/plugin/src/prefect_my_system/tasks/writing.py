"""Tasks that write to the system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..blocks import names
from ..common import reporting, retries

if TYPE_CHECKING:
    from pathlib import Path

    from ..blocks import MySystemClient
    from ..common.paging import Record


# Retried only if nothing was written: an unknown outcome is a PermanentError.
@task(task_run_name="create-{path}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def create_record(
    client: MySystemClient,
    path: str,
    record: Record,
    *,
    key: str | None = None,
) -> Record:
    """Add a record to the collection at a path, once, and return the system's response.

    Args:
        client: The client block.
        path: Path of the collection, below the base URL.
        record: The record.
        key: `Idempotency-Key`, for a system that supports this header.

    Raises:
        OutcomeUnknownError: The record may have been added: check before you run this again.
        PermanentError: The system refuses, or does not return JSON.
        TransientError: The system is unavailable or busy for longer than the retries last.
    """
    created = client.create(path, record, key=key)
    reporting.logger(__name__).info("Created a record in %s", path)
    return created


# Retried: to upload a file twice has the same result.
@task(task_run_name="upload-{path}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def upload_file(
    client: MySystemClient,
    path: str,
    file: Path,
) -> int:
    """Upload a file to a path without reading it into memory; return its size in bytes.

    Raises:
        PermanentError: The system refuses.
        TransientError: The system is unavailable or busy for longer than the retries last.
    """
    client.upload(path, file)
    size = file.stat().st_size
    reporting.logger(__name__).info("Uploaded %s: %s bytes", path, f"{size:,}")
    rows = [{"file": file.name, "bytes": size}]
    key = reporting.artifact_key("uploaded", names.SLUG, path)
    reporting.table_artifact(key, rows, f"`{file.name}` at `{path}`")
    return size
