"""Blocks: what a flow needs to know to work with the system, kept by Prefect.

Prefect finds those in `__all__` (see `collection`).
"""

from .credentials import Credentials
from .system import System

__all__ = [
    "Credentials",
    "System",
]
