"""Blocks: what a flow needs to know to work with the system, kept by Prefect."""

from .credentials import Credentials

__all__ = [
    "Credentials",
]
