"""The documentation builds in strict mode, and no link in the repository is broken."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import projects

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)|<img[^>]*src=\"([^\"]+)\"")


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub and MkDocs create for headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    command = ("mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path)
    projects.run(*command, cwd=projects.ROOT, NO_MKDOCS_2_WARNING="1")
    page = (tmp_path / "maintain" / "index.html").read_text()
    assert "/blob/main/hooks/migrations/README.md" in page


def test_every_link_leads_somewhere() -> None:
    listed = projects.run("git", "ls-files", "*.md", cwd=projects.ROOT)
    for name in listed.splitlines():
        path = projects.ROOT / name.strip('"')
        if name.strip('"').startswith(("template/", "examples/")) or not path.is_file():
            continue
        for file, anchor, image in LINK.findall(path.read_text()):
            target = path if not file and not image else path.parent / (file or image)
            assert target.exists(), f"{name}: {file or image}"
            if anchor:
                assert anchor in anchors(target.read_text()), f"{name}: {file}#{anchor}"


def test_contributing_names_each_test_and_helper() -> None:
    """By feature, so that newcomers find them."""
    tests = projects.ROOT / "tests"
    table = (projects.ROOT / "CONTRIBUTING.md").read_text().partition("| Feature |")[2]
    files = {path.stem for path in tests.glob("*.py")} - {"conftest"}
    for folder in ("updates", "hooks"):
        assert f"`tests/{folder}/`" in table
        helpers = {path.stem for path in (tests / folder).glob("[!_]*.py")} - {"conftest"}
        files |= {name for name in helpers if not name.startswith("test_")}
    assert set(re.findall(r"`(\w+)`", table)) == files


def test_every_decision_has_a_status_and_a_date() -> None:
    folder = projects.ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text()
    records = sorted(folder.glob("0*.md"))
    assert records
    for record in records:
        status = re.search(r"^Status: (.+?)\n\n", record.read_text(), re.MULTILINE | re.DOTALL)
        assert status, record.name
        assert re.search(r"(accepted|superseded by .*;).*20\d\d-\d\d-\d\d", status[1]), record.name
        assert f"]({record.name})" in listed, record.name
