"""Names of files without secrets, and atomic writing of files."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from typing import TYPE_CHECKING

from . import errors

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

URL = "([A-Za-z][A-Za-z0-9+.-]+):/"  # pathlib joins two slashes


def public_name(source: str | Path) -> str:
    """Return a URL or path without parts that may be secret: login, parameters, query, fragment."""
    text = re.split("[?#]", str(source), maxsplit=1)[0]
    url = re.fullmatch(f"(?s)(?:.*::)?{URL}/*([^/]*)(.*)", text)
    if url is None:
        return text.rpartition("@")[2] if re.search("(?s):.*@", text) else text
    place = url[2].rpartition("@")[2]
    plain = re.fullmatch(r"([\w.-]*|\[[\da-fA-F:.]+\])(:\d*)?", place)
    # A password that contains a slash or question mark looks like a port and a path.
    hide = plain is None or (plain[2] and "@" in url[3])
    # Parameters, such as a signature, follow a semicolon.
    return f"{url[1]}://{'...' if hide else place + re.sub(';[^/]*', '', url[3])}"


@contextlib.contextmanager
def replacing(target: Path) -> Generator[Path]:
    """Yield a new file that replaces the target if the `with` block succeeds.

    Links are followed and kept; a replaced file keeps its permissions.

    Raises:
        PermanentError: The target cannot be written.
    """
    name = public_name(target)
    message = f"{name} is not the path of a file, but of a folder, a device, or a URL."
    try:
        real = target.resolve()
        # If the resolved path is a symlink, it links to itself.
        is_file = real.is_file() or not (real.exists() or real.is_symlink())
    except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a null byte
        raise errors.PermanentError(message) from None
    if not is_file or re.match(URL, str(target)):
        raise errors.PermanentError(message)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        partial = real.with_name(f".{uuid.uuid4().hex}.part")
        try:
            # Until it has the old file's permissions, only this user may read the new file.
            partial.touch(0o600 if real.exists() else 0o666)
            yield partial
            # Written to disk first, so that the target is complete even after a power failure.
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
            if real.exists():
                shutil.copymode(real, partial)
            partial.replace(real)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise errors.PermanentError(f"Cannot write {name}: {error.strerror}.") from error
