"""Compare `hooks/update.py` with `copier update`, for each kind and for several projects.

    uv run benchmarks/update.py [--times 5]

Each runs in its own process, as for a user, on a project with an edit where the template has
another one.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from pathlib import Path

import measure

KINDS = ("pipeline", "library", "plugin")
MANY = 4


def append(path: Path, text: str) -> None:
    """Add lines to a file."""
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def main() -> None:
    """Measure each command, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="rounds that count")
    times = parser.parse_args().times
    ours = (sys.executable, measure.ROOT / "hooks" / "update.py")
    plain = (sys.executable, "-m", "copier", "update", "-q", "--defaults", "--skip-answered")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        template = measure.template(folder)
        made = {}
        for kind in KINDS:
            made[kind] = folder / kind
            words = ("copier", "copy", "-q", "--defaults", "-d", f"project_kind={kind}")
            measure.run(*words, template, made[kind], cwd=folder)
            append(made[kind] / "pyproject.toml", '\n[tool.ours]\nname = "ours"\n')
            measure.run("git", "init", "-q", cwd=made[kind])
            measure.commit(made[kind])
        metadata = template / "template" / "pyproject.toml.jinja"
        metadata.write_text(f"# A new line.\n{metadata.read_text(encoding='utf-8')}")
        append(template / "template" / "CONTRIBUTING.md.jinja", "\nA new line.\n")
        measure.commit(template)
        measure.run("git", "tag", "v999.1.0", cwd=template)
        for kind, project in made.items():
            print(kind)
            sides = {"copier update": functools.partial(measure.update, project, folder, 1, *plain)}
            sides["update.py"] = functools.partial(measure.update, project, folder, 1, *ours)
            many = functools.partial(measure.update, project, folder, MANY, *ours)
            sides[f"update.py, {MANY} projects"] = many
            measure.tell(measure.in_turns(sides, times), "copier update")


if __name__ == "__main__":
    main()
