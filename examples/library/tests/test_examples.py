from __future__ import annotations

from typing import TYPE_CHECKING

import demo
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("prefect_server")
def test_demo_runs_every_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    demo.main()
    shown = capsys.readouterr().out
    for example in demo.EXAMPLES.glob("[!_]*.py"):
        assert f"examples/{example.name}\n" in shown
