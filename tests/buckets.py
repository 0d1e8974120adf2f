"""S3 on this machine, for tests."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import urlopen

from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def s3_server() -> Iterator[str]:
    """Start a server without buckets, and yield its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        # All servers of a process share the buckets, including those of earlier tests.
        urlopen(f"{url}/moto-api/reset", data=b"").close()
        yield url
    finally:
        server.stop()
