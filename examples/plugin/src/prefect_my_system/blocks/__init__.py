"""Blocks, with which flows reach the system. Prefect finds what is exported here."""

from .client import MySystemClient
from .credentials import MySystemCredentials

__all__ = [
    "MySystemClient",
    "MySystemCredentials",
]
