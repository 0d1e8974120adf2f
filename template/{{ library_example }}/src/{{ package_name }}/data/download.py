"""The task that downloads a file."""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import errors, reporting, retries, settings
from . import sources

if TYPE_CHECKING:
    from pydantic import SecretStr


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file that was downloaded.

    Attributes:
        path: Where it is.
        source: Where it came from; a URL without user, password and query.
        size: Its size in bytes.
        sha256: Its SHA-256 checksum, 64 hexadecimal digits.
        fetched: False if it was there already, with the checksum asked for.
    """

    path: Path
    source: str
    size: int
    sha256: str
    fetched: bool


# Not cached: the file is on the disk of one machine, and its source may change. The run is
# named after the target, because a source may hold a secret.
@task(
    task_run_name="download-{target}",
    tags={"data"},
    retries=retries.ATTEMPTS,
    retry_delay_seconds=retries.DELAYS_SECONDS,
    retry_jitter_factor=0.5,
    retry_condition_fn=retries.only_transient,
    cache_policy=NO_CACHE,
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
    """Download a file; it appears under its name only when it is complete and checked.

    The file is streamed, so its size does not matter for memory. One that is there already
    is replaced at once, or kept as it is if it has the checksum.

    Args:
        source: URL with http, https or file, or a path.
        target: Path of the file to write; its folder is made if need be.
        sha256: SHA-256 checksum that the file must have, 64 hexadecimal digits.
        token: Bearer token for the server, or `block:` and the name of a Secret block.
        max_bytes: Largest size to accept; none takes the setting `download_max_bytes`.
        timeout_seconds: How long the server may keep silent; none takes the setting
            `download_timeout_seconds`.
        deadline_seconds: How long the whole download may take; none takes the setting
            `download_deadline_seconds`.

    Returns:
        The file, with its size and checksum.

    Raises:
        PermanentError: There is no such file, the server refuses, the file is too large or
            has another checksum, or it cannot be written.
        TransientError: The server was away, too slow or broke off, for longer than the
            retries last.
    """
    config = settings.load()
    target = Path(target)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise errors.PermanentError("sha256 is not a checksum of 64 hexadecimal digits.")
    if target.is_dir():
        raise errors.PermanentError(f"{target} is a folder: give the path of a file.")
    logger = reporting.logger(__name__)
    name = sources.public_name(source)
    wanted = sha256.lower() if sha256 else None
    try:
        if wanted and target.is_file() and _checksum(target) == wanted:
            logger.info("%s is there already", target)
            size = target.stat().st_size
            return Download(path=target, source=name, size=size, sha256=wanted, fetched=False)
        with sources.open_source(
            source, timeout_seconds=timeout_seconds or config.download_timeout_seconds, token=token
        ) as opened:
            size, actual = _write(
                opened,
                target,
                wanted,
                max_bytes=max_bytes or config.download_max_bytes,
                deadline_seconds=deadline_seconds or config.download_deadline_seconds,
            )
    except OSError as error:
        message = f"Cannot download to {target}: {error.strerror}."
        raise errors.PermanentError(message) from error
    logger.info("%s: %s bytes from %s", target, f"{size:,}", name)
    return Download(path=target, source=name, size=size, sha256=actual, fetched=True)


def _write(
    opened: sources.Opened,
    target: Path,
    wanted: str | None,
    *,
    max_bytes: int,
    deadline_seconds: float,
) -> tuple[int, str]:
    """Write the bytes beside the target, check them, then give them the target's name."""
    too_large = f"The file for {target} has more than {max_bytes:,} bytes."
    if opened.size is not None and opened.size > max_bytes:
        raise errors.PermanentError(too_large)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid.uuid4().hex}.part")
    digest = hashlib.sha256()
    size = 0
    deadline = time.monotonic() + deadline_seconds
    try:
        with partial.open("xb") as file:
            for chunk in opened.chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise errors.PermanentError(too_large)
                if time.monotonic() > deadline:
                    message = f"The download of {target} took more than {deadline_seconds:g} s."
                    raise errors.TransientError(message)
                digest.update(chunk)
                file.write(chunk)
            # The name must never stand for less than the content, even after a power cut.
            file.flush()
            os.fsync(file.fileno())
        actual = digest.hexdigest()
        if wanted not in {None, actual}:
            message = f"The file for {target} has the checksum {actual}, not {wanted}."
            raise errors.PermanentError(message)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return size, actual


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
