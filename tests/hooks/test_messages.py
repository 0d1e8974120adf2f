"""Copier's messages after a copy and after an update."""

from __future__ import annotations

import re
from pathlib import Path

import copier
import projects
import pytest

from hooks.conftest import NEW, OLD, Run


def message(printed: str, start: str) -> list[str]:
    """Return the lines of a message, which has to fit a small screen."""
    lines = printed[printed.index(start) :].strip().splitlines()
    assert len(lines) < 20
    # Only the pinned command may be longer: a commit's hash is 40 characters.
    assert [line for line in lines if len(line) > 80 and "uv run " not in line] == []
    return lines


def shortcut(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if re.search(r"/hooks/\w+\.py", line)]


def test_after_copy_and_update_from_a_local_template(
    run: Run, source: Path, tmp_path: Path
) -> None:
    done = run("uvx", "copier", "copy", "--defaults", "-r", OLD, source, "p", cwd=tmp_path)
    lines = message(done.printed, "my-data-project is ready in p")
    assert shortcut(lines) == [f"uv run {source}/hooks/post_copy.py ."]
    # The shortcut exists, and runs.
    project = tmp_path / "p"
    found = run("python", *shortcut(lines)[0].split()[2:], cwd=project)
    assert found.code == 0, found.printed
    done = run("uvx", "copier", "update", "--defaults", cwd=project)
    lines = message(done.printed, "my-data-project has template version")
    assert lines[0] == f"my-data-project has template version {NEW}. Before you commit:"
    assert shortcut(lines) == [f"uv run {source}/hooks/update.py --verify"]
    plain = next(n for n, line in enumerate(lines) if "git diff --check" in line)
    assert plain < next(n for n, line in enumerate(lines) if "update.py" in line)
    found = run("bash", "-c", shortcut(lines)[0], cwd=project)
    assert (found.code, "no edit is lost" in found.printed) == (0, True), found.printed


@pytest.mark.parametrize(
    ("source_path", "url"),
    [
        ("https://example.com/acme/copier-prefect.git", "https://example.com/acme/copier-prefect"),
        ("git+https://example.com/acme/copier-prefect", "https://example.com/acme/copier-prefect"),
        ("gh:acme/copier-prefect", "https://github.com/acme/copier-prefect"),
        ("gl:acme/copier-prefect.git", "https://gitlab.com/acme/copier-prefect"),
        ("git@example.com:acme/copier-prefect.git", None),
    ],
)
def test_a_url_is_pinned_to_the_commit(
    source_path: str, url: str | None, source: Path, old: Path, run: Run, hook: Run
) -> None:
    """Git maps each URL to the local template, so nothing is downloaded."""
    answers = old / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(f"{source}", source_path))
    projects.run("git", "commit", "-qam", "Source", cwd=old)
    cloned = {
        "gh:acme/copier-prefect": "https://github.com/acme/copier-prefect.git",
        "gl:acme/copier-prefect.git": "https://gitlab.com/acme/copier-prefect.git",
    }.get(source_path, source_path.removeprefix("git+"))
    config = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{source}.insteadOf",
        "GIT_CONFIG_VALUE_0": cloned,
    }
    done = run("uvx", "copier", "update", "--defaults", cwd=old, **config)
    assert done.code == 0, done.printed
    commit = projects.run("git", "rev-parse", f"{NEW}^{{commit}}", cwd=source).strip()
    expected = [f"uv run {url}/raw/{commit}/hooks/update.py --verify"] if url else []
    assert shortcut(message(done.printed, "my-data-project has")) == expected
    assert hook("update.py", "--verify", cwd=old, **config).code == 0


def test_a_template_without_git_has_a_message_too(tmp_path: Path) -> None:
    plain = projects.copy_content(tmp_path / "plain")
    copier.run_copy(str(plain), tmp_path / "p", defaults=True, quiet=False)
    assert (tmp_path / "p" / "README.md").is_file()
