"""Compare `copier copy` and `copier update` with an empty template, for each kind.

    uv run benchmarks/copy_and_update.py [--times 5]

Each runs in its own process, as for a user. The difference to the empty template is the cost of
this template; the rest is Copier's start and git. A template of a rendered pipeline's files,
without any Jinja, shows how much of that is Copier's work for each file.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import tempfile
from pathlib import Path

import measure

KINDS = ("pipeline", "library", "plugin")


def copy(source: Path, options: tuple[str, ...], folder: Path) -> measure.Cost:
    """Copy a project into a temporary folder."""
    target = folder / "copied"
    cost = measure.run("copier", "copy", "-q", "--defaults", *options, source, target, cwd=folder)
    shutil.rmtree(target)
    return cost


def main() -> None:
    """Measure both commands for each kind, alternating with an empty template."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="rounds that count")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = measure.empty_template(folder)
        ours = measure.template(folder)
        sources = {"empty template": (empty, ())}
        sources |= {kind: (ours, ("-d", f"project_kind={kind}")) for kind in KINDS}
        plain = measure.empty_template(folder, "plain files")
        options = ("-q", "--defaults", "--exclude", ".copier-answers.yml")
        measure.run("copier", "copy", *options, "--overwrite", ours, plain, cwd=folder)
        measure.commit(plain)
        measure.run("git", "tag", "--force", measure.RELEASE, cwd=plain)
        sources["plain files"] = (plain, ())
        copies = {
            kind: functools.partial(copy, source, options, folder)
            for kind, (source, options) in sources.items()
        }
        print("copier copy --defaults")
        measure.tell(measure.in_turns(copies, times), "empty template")

        updates = {}
        for kind, (source, options) in sources.items():
            project = folder / f"project {kind}"
            words = ("copier", "copy", "-q", "--defaults", *options, source, project)
            measure.run(*words, cwd=folder)
            measure.run("git", "init", "-q", cwd=project)
            measure.commit(project)
            words = ("copier", "update", "-q", "--defaults")
            updates[kind] = functools.partial(measure.update, project, folder, 1, *words)
        for source in (empty, plain, ours):
            (source / "NEWS").write_text("A release that changes nothing.\n")
            measure.commit(source)
            measure.run("git", "tag", "v999.1.0", cwd=source)
        print("copier update --defaults")
        measure.tell(measure.in_turns(updates, times), "empty template")


if __name__ == "__main__":
    main()
