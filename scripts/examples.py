"""Render a project of each kind into `examples/`: `uv run poe examples`.

Review a change of the template by its diff there. A test fails if the folder differs from what the
template renders.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import projects  # noqa: E402 -- how the tests render

FOLDER = ROOT / "examples"
ADDRESS = "https://github.com/OWNER/copier-prefect"
"""Where the template is, for the commands of a project that name it."""


def render(template: Path, folder: Path) -> None:
    """Render each kind with the default answers.

    Args:
        template: The template's content.
        folder: Folder for the projects, one for each kind.
    """
    for kind in projects.KINDS:
        answers = {"project_kind": kind, "_src_path": ADDRESS}
        project = projects.render(template, folder / kind, answers)
        # The source and the commit would change each time.
        path = project / ".copier-answers.yml"
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"(?m)^_(src_path|commit):.*\n", "", text), encoding="utf-8")


def main() -> None:
    """Render the folder anew from the work tree."""
    with tempfile.TemporaryDirectory() as made:
        render(projects.copy_content(Path(made, "template")), Path(made, "examples"))
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(Path(made, "examples"), FOLDER)


if __name__ == "__main__":
    main()
