from __future__ import annotations

from pathlib import Path

import public_api
import pytest

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"

OLD = ["data.load(path)", "data.save(path)"]


def test_every_change_is_in_the_changelog() -> None:
    released = public_api.RELEASED.read_text(encoding="utf-8").splitlines()
    changelog = CHANGELOG.read_text(encoding="utf-8")
    names = public_api.unmentioned(released, public_api.describe(), changelog)
    assert not names, f"name these in CHANGELOG.md under '## Unreleased', as `{names[0]}`"


@pytest.mark.parametrize(
    ("current", "changed"),
    [
        (OLD, []),
        (["data.load(path)"], ["save"]),
        ([*OLD, "ml.train(table)"], ["train"]),
        (["data.load(path, size)", "data.save(path)"], ["load"]),
        (["data.load(path)", "data.save (old)"], ["save"]),
    ],
)
def test_changes_are_noticed(current: list[str], changed: list[str]) -> None:
    assert public_api.unmentioned(OLD, current, "# Changelog\n") == changed
    mentioned = "".join(f"- `{name}` is another now.\n" for name in changed)
    below = f"# Changelog\n\n## Unreleased\n\n{mentioned}\n## 1.0.0\n"
    assert public_api.unmentioned(OLD, current, below) == []
    too_old = f"# Changelog\n\n## [Unreleased]\n\n## 1.0.0\n\n{mentioned}"
    assert public_api.unmentioned(OLD, current, too_old) == changed
