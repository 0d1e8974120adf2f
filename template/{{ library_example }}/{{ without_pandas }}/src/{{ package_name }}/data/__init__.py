"""Tasks that download and clean data.

This module imports little more than Prefect: other dependencies are imported when a task is
called.
"""

from .download import Download, download_data

__all__ = [
    "Download",
    "download_data",
]
