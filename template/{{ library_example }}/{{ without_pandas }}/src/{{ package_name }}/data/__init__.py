"""Tasks that get data and put it in order.

Importing this costs little more than importing Prefect: what a task needs besides is imported
when the task is called.
"""

from .download import Download, download_data

__all__ = [
    "Download",
    "download_data",
]
