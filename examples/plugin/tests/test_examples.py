"""The examples, as the demo runs them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from prefect_my_system import cli

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.usefixtures("prefect_server")
def test_the_demo_runs_every_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert "344 records\n9 requests, of which the system sent away 2: [429, 503]\n" in shown
    assert "Gentoo penguin (Pygoscelis papua)                 123   5,076" in shown
    assert "files/summary.csv: 1" in shown
    for example in EXAMPLES.glob("[!_]*.py"):
        assert f"examples/{example.name}\n" in shown


def test_the_demo_needs_the_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo"]) == 1
    assert "There is no folder examples/" in capsys.readouterr().err
