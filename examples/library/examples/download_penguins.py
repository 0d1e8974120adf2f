"""Download a file and check that it is the one that was published.

Run it with `uv run python examples/download_penguins.py`. The file comes from the package
`palmerpenguins` (data: CC0), so this works offline.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from prefect import flow

from my_task_library import data
from my_task_library.common import settings

SHA256 = "144f623143c9360fd77322a4f86acb06dc198814dbd2669724c63e6457b907bd"


@flow
def download_penguins(source: str, target: Path) -> data.Download:
    """Download the penguins of the Palmer Archipelago.

    Args:
        source: URL of the file.
        target: Where to put it.

    Returns:
        The file.
    """
    # Take a token from the environment or a Secret block, never from a flow's parameter: Prefect
    # stores parameters in plain text.
    token = settings.load().download_token
    return data.download_data(source, target, sha256=SHA256, token=token)


def find_penguins() -> str:
    """Return the URL of the file in the package `palmerpenguins`, without importing it."""
    spec = importlib.util.find_spec("palmerpenguins")
    if spec is None or spec.origin is None:
        raise SystemExit("This example needs its data: pip install palmerpenguins")
    return (Path(spec.origin).parent / "data" / "penguins-raw.csv").as_uri()


if __name__ == "__main__":
    download = download_penguins(find_penguins(), Path("data/penguins.csv"))
    print(f"{download.path}: {download.size:,} bytes")
