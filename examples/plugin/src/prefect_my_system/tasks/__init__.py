"""Tasks that work with the system."""

from .reading import fetch_record, fetch_records
from .writing import create_record, upload_file

__all__ = ["create_record", "fetch_record", "fetch_records", "upload_file"]
