"""Deprecated objects are removed in the version that their message names."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]

OVERDUE = runpy.run_path(str(ROOT / "scripts" / "public_api.py"))["overdue"]


def test_nothing_deprecated_is_overdue() -> None:
    # The installed version may be older than the release in preparation.
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## \[?v?(\d+)\.(\d+)", text, re.MULTILINE)
    version = tuple(map(int, released.groups())) if released else (0, 0)
    assert OVERDUE(ROOT / "src", version) == []


def test_an_overdue_name_is_found(tmp_path: Path) -> None:
    text = '@deprecated("deprecated since 1.4, "\n"removed in 2.0")\ndef a() -> None: ...\n'
    (tmp_path / "old.py").write_text(text, encoding="utf-8")
    assert OVERDUE(tmp_path, (1, 9)) == []
    assert OVERDUE(tmp_path, (2, 0)) == ["old.py:1: removed in 2.0: its time has come"]
