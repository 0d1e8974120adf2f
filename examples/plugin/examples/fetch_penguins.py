"""Fetch a collection, page by page, from a system that is busy at times.

Run it with `uv run python examples/fetch_penguins.py`. The system is a small local server, so this
works offline.
"""

from __future__ import annotations

from typing import Any

import _system
from prefect import flow

from prefect_my_system import blocks, tasks

Client = blocks.MySystemClient


@flow
def fetch_penguins(client: Client) -> list[dict[str, Any]]:
    """Fetch the penguins of the Palmer Archipelago.

    Prefect does not store the token with the flow run's parameters.
    """
    return tasks.fetch_records(client, "penguins")


if __name__ == "__main__":
    with _system.running(penguins=_system.penguins()) as system:
        # A block that is not saved; load a saved one with `Client.load("prod")`.
        client = Client(credentials=system.credentials, page_size=50)
        fetched = fetch_penguins(client)
    busy = [status for status in system.told if status != 200]
    print(f"{len(fetched)} records")
    print(f"{len(system.told)} requests, of which the system sent away {len(busy)}: {busy}")
