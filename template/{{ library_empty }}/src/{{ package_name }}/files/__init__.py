"""Tasks about files.

This module imports little more than Prefect: other dependencies are imported when a task is
called.
"""

from .hash_file_task import hash_file

__all__ = ["hash_file"]
