"""The comparison with peers: the page has the script's rows, and names what was not measured."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

import projects

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    import pytest


def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the benchmark as a module."""
    monkeypatch.syspath_prepend(projects.ROOT / "benchmarks")
    return importlib.import_module("peers")


def test_the_page_has_a_row_for_each_peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    peers = script(monkeypatch)
    page = (projects.ROOT / "docs" / "peers.md").read_text()
    head, _, *rows = re.findall(r"^\|(.+)\|$", page, re.MULTILINE)
    assert [cell.strip() for cell in head.split("|")] == list(peers.HEAD)
    assert [row.split("|")[0].strip() for row in rows] == list(peers.peers(tmp_path, tmp_path))
    for name, address in peers.TEMPLATES.items():
        assert f"{address}\n" in page, name


def test_how_a_command_ended_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    told = script(monkeypatch).told
    assert told("Checking\nFound 3 errors.\n[*] 2 fixable with `--fix`.\n") == "Found 3 errors"
    assert told("warning: a\nerror: No `uv` here\n  cause: b\n") == "No uv here"
    assert told("\x1b[31m10:11:12  Done. PASS=2 ERROR=1\x1b[0m\n\n") == "Done. PASS=2 ERROR=1"
    assert told("Wrote /tmp/abc/def/peer.py | once\n") == "Wrote peer.py / once"
    assert told("\n") == "no output"


def test_a_template_without_a_clone_is_not_measured(tmp_path: Path) -> None:
    command = ("python", "benchmarks/peers.py", "--templates", tmp_path, "--only", "substrate")
    printed = projects.run(*command, "--times", "1", cwd=projects.ROOT)
    row = next(line for line in printed.splitlines() if line.startswith("| substrate |"))
    assert "not measured: no clone in substrate" in row
