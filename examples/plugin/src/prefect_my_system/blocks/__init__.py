"""Blocks: how flows reach the system. Prefect finds the blocks that are exported here."""

from .client import MySystemClient
from .credentials import MySystemCredentials

__all__ = [
    "MySystemClient",
    "MySystemCredentials",
]
