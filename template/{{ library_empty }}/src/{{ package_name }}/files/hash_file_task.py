"""The task hash_file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import errors, reporting, retries


# Not cached: the file may change.
@task(
    task_run_name="hash-file-{path}",
    tags={"files"},
    cache_policy=NO_CACHE,
    **retries.TRANSIENT,
)
def hash_file(path: str | Path) -> str:
    """Return the SHA-256 checksum of a file.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits, in lower case.

    Raises:
        PermanentError: There is no such file, or it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise errors.PermanentError(f"{path} cannot be read: {error.strerror}.") from error
    reporting.logger(__name__).info("SHA-256 of %s: %s", path, digest)
    return digest
