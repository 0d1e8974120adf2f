"""A flow for the worker to run."""

from __future__ import annotations

from pathlib import Path

from prefect import flow


@flow
def write_down(text: str, target: str) -> int:
    """Write a text into a file; return its length."""
    return Path(target).write_text(text, encoding="utf-8")
