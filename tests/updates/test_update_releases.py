"""The bundle of releases, the tool that adds one, and release commits without one."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import updating
from updating import BUNDLE, CONTENT, ROOT, git, run

if TYPE_CHECKING:
    from types import ModuleType

TOOL = ROOT / "scripts" / "release.py"
SUBJECT = re.compile(r"Release (v\d+\.\d+\.\d+)")


def content(repository: Path, ref: str) -> str:
    """List the template's files and their content at a commit."""
    return git(repository, "ls-tree", "--full-tree", ref, "--", *CONTENT)


def problems(repository: Path, work: Path) -> list[str]:
    """Compare a repository's release commits with its bundle.

    Args:
        repository: The template's repository.
        work: An empty folder.

    Returns:
        One line for each release commit without its release in the bundle, or with other
        content, and for each release without a commit.
    """
    bundle = repository / "tests" / "releases.bundle"
    log = [line.split(" ", 1) for line in git(repository, "log", "--format=%H %s").splitlines()]
    commits = {found[1]: commit for commit, text in log if (found := SUBJECT.fullmatch(text))}
    heads = git(repository, "bundle", "list-heads", bundle).split() if bundle.exists() else []
    tags = {name.removeprefix("refs/tags/") for name in heads if name.startswith("refs/tags/")}
    found = [f"{tag} was released, the bundle lacks it" for tag in commits.keys() - tags]
    # Fetching into the repository would leave tags behind.
    git(work, "init", "--quiet", "--bare", ".")
    if tags:
        git(work, "fetch", "--quiet", bundle, "refs/tags/*:refs/tags/*")
    newest = max(tags, key=updating.version, default="")
    shallow = git(repository, "rev-parse", "--is-shallow-repository").strip() == "true"
    for tag in sorted(tags, key=updating.version):
        held = git(work, "ls-tree", "--full-tree", tag)
        if tag in commits:
            if held != content(repository, commits[tag]):
                found.append(f"{tag} in the bundle differs from its release commit")
        elif tag == newest:
            # About to be committed: the tool has run, the commit follows.
            if held != content(repository, "HEAD"):
                found.append(f"{tag} is in the bundle, has no commit and differs from HEAD")
        elif not shallow:
            found.append(f"{tag} is in the bundle and has no release commit")
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository like this one, without a release."""
    folder = tmp_path / "repository"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(TOOL, folder / "scripts" / "release.py")
    (folder / "template").mkdir()
    (folder / "template" / "a.txt").write_text("one\n", encoding="utf-8")
    (folder / "copier.yml").write_text("_subdirectory: template\n", encoding="utf-8")
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## v0.1.0\n\n- First.\n", "utf-8")
    (folder / ".gitignore").write_text("/.cache/\n", encoding="utf-8")
    git(folder, "init", "--quiet")
    updating.commit_all(folder, "Begin")
    return folder


def check(repository: Path) -> list[str]:
    """Compare a test's repository with its bundle."""
    with tempfile.TemporaryDirectory() as work:
        return problems(repository, Path(work))


def release(folder: Path, version: str, *options: str) -> tuple[int, str]:
    """Run the tool as a maintainer does."""
    script = folder / "scripts" / "release.py"
    done = run(sys.executable, script, version, *options, cwd=folder, check=False)
    return done.returncode, done.stdout + done.stderr


def change(folder: Path, text: str, changelog: str) -> None:
    """Change the template and the changelog, and commit."""
    (folder / "template" / "a.txt").write_text(text, encoding="utf-8")
    (folder / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    updating.commit_all(folder, "Change")


def test_every_release_commit_has_its_release(tmp_path: Path) -> None:
    """This repository's own history and bundle agree."""
    assert problems(ROOT, tmp_path) == []


def test_bundle_holds_the_template_and_nothing_else(
    template_repository: updating.TemplateRepository,
) -> None:
    """A file more would be checked out by each `copier copy` of a test, or leak."""
    for tag in updating.release_tags():
        names = set(git(template_repository.path, "ls-tree", "--name-only", tag).split())
        assert names <= set(CONTENT)
        assert {"copier.yml", "template"} <= names


def test_two_releases(repository: Path) -> None:
    """Both are in the bundle, and a clone of it serves as a template."""
    assert release(repository, "v0.1.0")[0] == 0
    assert check(repository) == []
    updating.commit_all(repository, "Release v0.1.0")
    change(repository, "two\n", "# Changelog\n\n## [0.2.0] - 2030-01-01\n\n- Second.\n")
    code, printed = release(repository, "v0.2.0")
    assert code == 0
    assert 'git commit --message "Release v0.2.0"' in printed
    updating.commit_all(repository, "Release v0.2.0")
    assert check(repository) == []

    clone = repository.parent / "clone"
    git(repository, "clone", "--quiet", repository / "tests" / "releases.bundle", clone)
    assert git(clone, "show", "v0.1.0:template/a.txt") == "one\n"
    assert git(clone, "show", "HEAD:template/a.txt") == "two\n"
    assert git(clone, "ls-tree", "--name-only", "v0.2.0").split() == ["copier.yml", "template"]
    assert git(clone, "cat-file", "-t", "v0.2.0").strip() == "tag"


def test_the_same_commit_gives_the_same_bundle(repository: Path) -> None:
    """A maintainer who runs the tool again does not change history."""
    bundle = repository / "tests" / "releases.bundle"
    release(repository, "v0.1.0")
    first = bundle.read_bytes()
    bundle.unlink()
    release(repository, "v0.1.0")
    assert bundle.read_bytes() == first


def test_dry_run_writes_nothing(repository: Path) -> None:
    """It only says that all is well."""
    assert release(repository, "v0.1.0", "--dry-run") == (0, "v0.1.0 can be released\n")
    assert git(repository, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.2.0", "not a version"),
        ("v0.2", "not a version"),
        ("v0.2.0rc1", "not a version"),
        ("v01.2.0", "not a version"),
        ("v0.1.0", "exists"),
        ("v0.0.9", "older than v0.1.0"),
        ("v0.3.0", "CHANGELOG.md says nothing"),
        ("v0.4.0", "CHANGELOG.md says nothing"),
    ],
)
def test_refusals(repository: Path, version: str, message: str) -> None:
    """Nothing is written, and the reason is said."""
    release(repository, "v0.1.0")
    held = (repository / "tests" / "releases.bundle").read_bytes()
    # v0.4.0 has a heading with nothing under it, v0.3.0 none but that of v0.3.00.
    text = "# Changelog\n\n## v0.4.0\n\n## v0.3.00\n\nX\n\n## v0.1.0\n\nX\n\n## v0.0.9\n\nX\n"
    change(repository, "two\n", text)
    code, printed = release(repository, version)
    assert (code, message in printed) == (1, True), printed
    assert (repository / "tests" / "releases.bundle").read_bytes() == held


def test_uncommitted_template_is_refused(repository: Path) -> None:
    """A release holds what is committed, so nothing else may lie there."""
    (repository / "template" / "b.txt").write_text("b\n", encoding="utf-8")
    code, printed = release(repository, "v0.1.0")
    assert code == 1
    assert "template/b.txt" in printed


def test_unchanged_template_is_refused(repository: Path) -> None:
    """Two releases of one content would be an update that does nothing."""
    release(repository, "v0.1.0")
    updating.commit_all(repository, "Release v0.1.0")
    (repository / "CHANGELOG.md").write_text("## v0.2.0\n\nX\n", encoding="utf-8")
    code, printed = release(repository, "v0.2.0")
    assert code == 1
    assert "not changed since v0.1.0" in printed


def test_release_commit_without_release_is_noticed(repository: Path) -> None:
    """The check of this repository's own history can fail."""
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "Release v0.1.0")
    assert check(repository) == ["v0.1.0 was released, the bundle lacks it"]


def test_release_with_other_content_is_noticed(repository: Path) -> None:
    """The template may not change between the tool and the commit."""
    release(repository, "v0.1.0")
    change(repository, "two\n", "## v0.1.0\n\nX\n")
    assert check(repository) == ["v0.1.0 is in the bundle, has no commit and differs from HEAD"]
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "Release v0.1.0")
    assert check(repository) == ["v0.1.0 in the bundle differs from its release commit"]


def test_changelog_section_ends_at_the_next_one() -> None:
    """The tool reads one release's text, not its neighbour's."""
    spec = importlib.util.spec_from_file_location("release_tool", TOOL)
    assert spec
    assert spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = "# Changelog\n\n## Unreleased\n\n## [1.10.0] - today\n\n- Ten.\n\n## v1.1.0\n\n- One.\n"
    assert module.changelog_section(text, "v1.1.0") == "- One."
    assert module.changelog_section(text, "v1.10.0") == "- Ten."
    assert module.changelog_section(text, "v1.2.0") == ""


def test_bundle_path_is_the_one_tests_read() -> None:
    """Tool and tests name the same file."""
    assert BUNDLE.relative_to(ROOT).as_posix() in TOOL.read_text(encoding="utf-8")
