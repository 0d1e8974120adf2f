"""`hooks/before_update.py`: what git does not have, an update must not write over unannounced."""

from __future__ import annotations

import re
from pathlib import Path

import projects
import pytest

from hooks.conftest import NEW, OLD, Run, append, commit

RULES = "src/my_data_project/common/rules.py"
TABLES = "src/my_data_project/flows/tables.py"


def named(printed: str) -> list[str]:
    return re.findall(r"^  (\S+)$", printed, re.MULTILINE)


def ignore(project: Path, *names: str) -> None:
    """Take files out of git, ignore them, and write into them."""
    for name in names:
        path = project / name
        projects.run("git", "rm", "-q", "--cached", "--ignore-unmatch", name, cwd=project)
        append(project / ".gitignore", f"/{name}\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.read_text() if path.exists() else ''}mine\n")
    commit(project, "Ignore")


def test_a_project_that_is_all_in_git(hook: Run, old: Path) -> None:
    done = hook("before_update.py", cwd=old)
    assert done.code == 0, done.printed
    assert "uvx" not in done.printed, "nothing to compare, so nothing is rendered"


def test_ignored_files_of_the_template_are_named(hook: Run, run: Run, old: Path) -> None:
    # A merged file, one that only other answers bring; a file that is the user's for ever.
    ignore(old, RULES, "mkdocs.yml", TABLES, ".env")
    before = projects.run("git", "status", "--porcelain", "--ignored", cwd=old)
    done = hook("before_update.py", old, cwd=old.parent)
    assert (done.code, named(done.printed)) == (1, [RULES])
    done = hook("before_update.py", "-d", "features=[docs]", cwd=old)
    assert named(done.printed) == ["mkdocs.yml", RULES]
    assert projects.run("git", "status", "--porcelain", "--ignored", cwd=old) == before
    # This is what would happen.
    run("uvx", "copier", "update", "-q", "--defaults", "-d", "features=[docs]", cwd=old)
    for name, survives in {RULES: 0, "mkdocs.yml": 0, TABLES: 1, ".env": 1}.items():
        assert (old / name).read_text().endswith("mine\n") == survives, name


def test_files_that_git_is_told_not_to_show(hook: Run, old: Path) -> None:
    projects.run("git", "config", "status.showUntrackedFiles", "no", cwd=old)
    (old / "mkdocs.yml").write_text("mine\n")
    projects.run("git", "update-index", "--assume-unchanged", RULES, cwd=old)
    append(old / RULES, "# mine\n")
    done = hook("before_update.py", "-d", "features=[docs]", cwd=old)
    assert named(done.printed) == ["mkdocs.yml", RULES]


@pytest.mark.parametrize(("ref", "code"), [(":current:", 0), (NEW, 1)])
def test_an_ignored_file_as_the_template_has_it(ref: str, code: int, hook: Run, old: Path) -> None:
    text = (old / "CONTRIBUTING.md").read_text()
    ignore(old, "CONTRIBUTING.md", "mkdocs.yml")
    (old / "CONTRIBUTING.md").write_text(text)
    assert hook("before_update.py", cwd=old).code == 0
    data = ("-r", ref, "-d", f"features=[{'docs' if code else 'container'}]")
    assert hook("before_update.py", *data, cwd=old).code == code


def test_what_cannot_be_told(hook: Run, old: Path) -> None:
    ignore(old, "notes.txt")
    answers = old / ".copier-answers.yml"
    text = answers.read_text()
    answers.write_text(text.replace(f"_commit: {OLD}", "_commit: v0.0.7"))
    done = hook("before_update.py", cwd=old)
    assert (done.code, "v0.0.7" in done.printed) == (2, True)
    answers.write_text(text.replace("_commit:", "# _commit:"))
    done = hook("before_update.py", cwd=old)
    assert (done.code, "names no _src_path or no _commit" in done.printed) == (2, True)
    assert hook("before_update.py", "--copier", "no-such", cwd=old).code == 2
