"""Tasks about files.

Importing this costs little more than importing Prefect: what a task needs besides is imported
when the task is called.
"""

from .hash_file_task import hash_file

__all__ = ["hash_file"]
