"""Names of files without secrets, and files that are complete or not there at all."""

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

URL = "([A-Za-z][A-Za-z0-9+.-]+):/"  # a Path makes one slash of two


def public_name(source: str | Path) -> str:
    """Return a URL or path without what may be secret: login, parameters, query, fragment."""
    text = re.split("[?#]", str(source), maxsplit=1)[0]
    url = re.fullmatch(f"(?s)(?:.*::)?{URL}/*([^/]*)(.*)", text)
    if url is None:
        return text.rpartition("@")[2] if re.search("(?s):.*@", text) else text
    place = url[2].rpartition("@")[2]
    plain = re.fullmatch(r"([\w.-]*|\[[\da-fA-F:.]+\])(:\d*)?", place)
    # A password with a slash or question mark in it looks like a port and a path.
    hide = plain is None or (plain[2] and "@" in url[3])
    # Behind a semicolon are parameters, such as a signature.
    return f"{url[1]}://{'...' if hide else place + re.sub(';[^/]*', '', url[3])}"


@contextlib.contextmanager
def replacing(target: Path) -> Generator[Path]:
    """Give a new file to write, which takes the target's place when the `with` block ends well.

    Links are followed and stay; so do the permissions of a file that is replaced. What cannot be
    written is a `PermanentError`.
    """
    name = public_name(target)
    message = f"{name} is not the path of a file, but of a folder, a device, or a URL."
    try:
        real = target.resolve()
        is_file = real.is_file() or not (real.exists() or real.is_symlink())  # a link to itself
    except (OSError, RuntimeError, ValueError):  # too long, a loop of links, with a null byte
        raise errors.PermanentError(message) from None
    if not is_file or re.match(URL, str(target)):
        raise errors.PermanentError(message)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        partial = real.with_name(f".{uuid.uuid4().hex}.part")
        try:
            # Nobody may read more of the new file than of the old one, not even meanwhile.
            partial.touch(0o600 if real.exists() else 0o666)
            yield partial
            # The name must never stand for less than the content, even after a power cut.
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
            if real.exists():
                shutil.copymode(real, partial)
            partial.replace(real)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise errors.PermanentError(f"Cannot write {name}: {error.strerror}.") from error
