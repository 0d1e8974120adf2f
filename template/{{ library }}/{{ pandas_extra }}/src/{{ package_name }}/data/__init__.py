"""Tasks that download and clean data.

This module imports little more than Prefect: other dependencies are imported when a task is
called.
"""

from .download import Download, download_data
from .transform import Cleaned, Finding, transform_data

__all__ = [
    "Cleaned",
    "Download",
    "Finding",
    "download_data",
    "transform_data",
]
