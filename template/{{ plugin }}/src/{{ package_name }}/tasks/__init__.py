"""Tasks: the steps that flows take with the system."""

from .fetching import Fetched
from .fetching import fetch_record
from .fetching import fetch_records
from .uploading import Uploaded
from .uploading import upload_records

__all__ = [
    "Fetched",
    "Uploaded",
    "fetch_record",
    "fetch_records",
    "upload_records",
]
