"""The task that downloads a file."""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from ..common import errors, files, reporting, retries, settings
from . import sources

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import TaskRun
    from prefect.states import State
    from pydantic import SecretStr


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file that was downloaded, or that already had the expected checksum.

    The size is in bytes; the source is a URL without user, password and query.
    """

    path: Path
    source: str
    size: int
    sha256: str
    fetched: bool


def _name() -> str:
    return f"download-{files.public_name(task_run.parameters['target'])}"


def _again(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Retry temporary failures, but not before the time that the server asks to wait."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, sources.BusyError) and error.retry_after_seconds:
        reporting.logger(__name__).info("%s Waiting as long as it asks for.", error)
        time.sleep(error.retry_after_seconds)
    return retries.only_transient(task, run, state)


_RETRIES: dict[str, Any] = {**retries.TRANSIENT, "retry_condition_fn": _again}


# Not cached: the file is on one machine's disk, and its source may change. The run is named after
# the target, because a source may hold a secret.
@task(
    task_run_name=_name,
    tags={"data"},
    cache_policy=NO_CACHE,
    **_RETRIES,
)
def download_data(
    source: str | Path,
    target: str | Path,
    *,
    sha256: str | None = None,
    token: SecretStr | None = None,
    max_bytes: int | None = None,
    timeout_seconds: float | None = None,
    deadline_seconds: float | None = None,
) -> Download:
    """Download a file; the target appears only when the file is complete and checked.

    The file is streamed, so a large file needs little memory. An existing file is replaced
    atomically, or kept if it has the checksum.

    Args:
        source: A path, or a URL: http, https, file, or a protocol of an fsspec package, such as
            s3 (s3fs) and gs (gcsfs), which find their credentials in the environment.
        target: Path of the file to write; its folder is created if it does not exist.
        sha256: SHA-256 checksum that the file must have, 64 hexadecimal digits.
        token: Bearer token for an HTTP server, or `block:` and the name of a Secret block.
        max_bytes: Largest size to accept, compressed and decompressed.
        timeout_seconds: How long to wait while an HTTP server sends nothing.
        deadline_seconds: How long an attempt may take. For this and the two arguments above, None
            takes the setting `download_...` of that name.

    Raises:
        PermanentError: There is no such file, the server refuses or does not send the whole
            file, it is too large or has another checksum, or it cannot be written.
        TransientError: The server was unavailable or too slow, or the connection was lost, for
            longer than the retries last.
    """
    config = settings.load()
    limits = sources.Limits(
        config.download_max_bytes if max_bytes is None else max_bytes,
        config.download_timeout_seconds if timeout_seconds is None else timeout_seconds,
        config.download_deadline_seconds if deadline_seconds is None else deadline_seconds,
    )
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise errors.PermanentError("sha256 is not a checksum of 64 hexadecimal digits.")
    target, wanted = Path(target), sha256.lower() if sha256 else None
    name, shown = files.public_name(source), files.public_name(target)
    if wanted and os.access(target, os.R_OK) and target.is_file():
        with target.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == wanted:
            size = target.stat().st_size
            return Download(path=target, source=name, size=size, sha256=found, fetched=False)
    with files.replacing(target) as partial:
        size, actual = sources.fetch(source, partial, limits, token, known=bool(wanted))
        if wanted not in {None, actual}:
            message = f"The file for {shown} has the checksum {actual}, not {wanted}."
            raise errors.PermanentError(message)
    reporting.logger(__name__).info("%s: %s bytes from %s", shown, f"{size:,}", name)
    return Download(path=target, source=name, size=size, sha256=actual, fetched=True)
