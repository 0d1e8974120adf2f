"""Tasks that get data and put it in order.

Importing this costs little more than importing Prefect: what a task needs besides is imported
when the task is called.
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
