"""Edits of users in projects and of maintainers in the template, for tables of tests.

A `Change` turns one text into another. `you(...)` applies it to a file of a project,
`template(...)` to the file's sources in the template. Paths contain `{package}` for the package's
name. An edit that changes nothing fails, so that a scenario keeps its meaning when the template
changes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import updating
from updating import git, run

Change = Callable[[str], str]
UserEdit = Callable[[Path, str], None]
TemplateEdit = Callable[[Path], None]

# -- Changes of a text ----------------------------------------------------------------------


def swap(old: str, new: str) -> Change:
    """Replace the first occurrence of a text."""

    def change(text: str) -> str:
        assert old in text, f"nothing reads {old!r} any more"
        return text.replace(old, new, 1)

    return change


def at_end(lines: str) -> Change:
    """Add lines at the end."""
    return lambda text: f"{text.rstrip()}\n{lines}\n"


def at_top(lines: str) -> Change:
    """Add lines at the top."""
    return lambda text: f"{lines}\n{text}"


def after(anchor: str, lines: str) -> Change:
    """Add lines after the first line that contains a text."""

    def change(text: str) -> str:
        found = [line for line in text.splitlines(keepends=True) if anchor in line]
        assert found, f"no line holds {anchor!r} any more"
        return text.replace(found[0], f"{found[0]}{lines}\n", 1)

    return change


def text_is(text: str) -> Change:
    """Rewrite the whole file."""
    return lambda _old: text


def windows_lines(text: str) -> str:
    """Save with CRLF line ends."""
    return text.replace("\n", "\r\n")


# -- Dependencies: the template's block in pyproject.toml ---------------------------------------

FIRST, LAST = 0, -1
_BLOCK = re.compile(
    r"(?ms)^dependencies = \[\n  # [^\n]*\n(?P<lines>.*?)  # Yours, below this line:\n"
)


def _block(text: str) -> tuple[list[str], re.Match[str]]:
    # The template has a file with the requirements of each kind; those of parts are last.
    own = r"(?s)(?P<lines>(?:  \"[^\n]*\n)+)(?:\{%.*)?"
    match = _BLOCK.search(text) or re.fullmatch(own, text)
    assert match, "pyproject.toml has no block of the template's dependencies any more"
    return match["lines"].splitlines(keepends=True), match


def _rebuilt(text: str, match: re.Match[str], lines: list[str]) -> str:
    return text[: match.start("lines")] + "".join(lines) + text[match.end("lines") :]


def adds_dependency(requirement: str, place: int = LAST) -> Change:
    """Add a line to the template's block, as its first or last."""

    def change(text: str) -> str:
        lines, match = _block(text)
        lines.insert(0 if place == FIRST else len(lines), f'  "{requirement}", # new\n')
        return _rebuilt(text, match, lines)

    return change


def drops_dependency(place: int) -> Change:
    """Remove the first or last requirement from the template's block."""

    def change(text: str) -> str:
        lines, match = _block(text)
        at = [number for number, line in enumerate(lines) if line.startswith('  "')][place]
        del lines[at]
        return _rebuilt(text, match, lines)

    return change


def bumps_dependency(place: int) -> Change:
    """Raise the bound of the first or last requirement in the template's block."""

    def change(text: str) -> str:
        lines, match = _block(text)
        at = [number for number, line in enumerate(lines) if line.startswith('  "')][place]
        lines[at] = re.sub(r"(>=[\d.]+)", r"\1.999", lines[at], count=1)
        assert ".999" in lines[at], f"no bound to raise in {lines[at]!r}"
        return _rebuilt(text, match, lines)

    return change


# -- Edits of a user ----------------------------------------------------------------------------


def you(path: str, change: Change) -> UserEdit:
    """Edit a file of the project."""

    def edit(project: Path, package: str) -> None:
        file = project / path.format(package=package)
        # Bytes, because text mode would hide line ends.
        text = file.read_bytes().decode()
        changed = change(text)
        assert changed != text, f"the edit of {path} changes nothing"
        file.write_bytes(changed.encode())

    return edit


def you_write(path: str, text: str) -> UserEdit:
    """Create a file, or rewrite it."""

    def edit(project: Path, package: str) -> None:
        file = project / path.format(package=package)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    return edit


def you_delete(path: str) -> UserEdit:
    """Delete a file or folder."""

    def edit(project: Path, package: str) -> None:
        target = project / path.format(package=package)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()

    return edit


def you_move(old: str, new: str) -> UserEdit:
    """Rename a file or folder."""

    def edit(project: Path, package: str) -> None:
        target = project / new.format(package=package)
        target.parent.mkdir(parents=True, exist_ok=True)
        (project / old.format(package=package)).rename(target)

    return edit


def you_run(*command: str) -> UserEdit:
    """Run a command in the project."""

    def edit(project: Path, package: str) -> None:
        run(*(part.format(package=package) for part in command), cwd=project)

    return edit


def uv_add(*arguments: str) -> UserEdit:
    """Add a dependency with uv, without resolving it, because that needs a network."""
    return you_run("uv", "add", "--quiet", "--frozen", *arguments)


def uv_remove(*arguments: str) -> UserEdit:
    """Remove a dependency with uv."""
    return you_run("uv", "remove", "--quiet", "--frozen", *arguments)


def you_make_executable(path: str) -> UserEdit:
    """Set the executable bit."""

    def edit(project: Path, package: str) -> None:
        (project / path.format(package=package)).chmod(0o755)

    return edit


def you_rename_package(new: str) -> UserEdit:
    """Rename the package as in docs/update.md: the folder, then all mentions."""

    def edit(project: Path, package: str) -> None:
        git(project, "mv", f"src/{package}", f"src/{new}")
        for name in git(project, "ls-files", "-z").split("\0"):
            file = project / name
            if not name or name == updating.ANSWERS or not file.is_file():
                continue
            text = file.read_bytes()
            renamed = re.sub(rf"\b{package}\b".encode(), new.encode(), text)
            if renamed != text:
                file.write_bytes(renamed)

    return edit


# -- Edits of the template's maintainers -----------------------------------------------------------


def template_dependency(change: Change) -> TemplateEdit:
    """Edit the requirements of every kind."""

    def edit(checkout: Path) -> None:
        files = sorted(checkout.glob("includes/pyproject/*/dependencies.toml"))
        assert files, "the template keeps its requirements elsewhere"
        for file in files:
            file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")

    return edit


def template(path: str, change: Change) -> TemplateEdit:
    """Edit all sources of a project's file."""

    def edit(checkout: Path) -> None:
        files = updating.sources(checkout, path)
        assert files, f"no file of the template becomes {path} any more"
        for file in files:
            text = file.read_text(encoding="utf-8")
            changed = change(text)
            assert changed != text, f"the edit of {path} changes nothing"
            file.write_text(changed, encoding="utf-8")

    return edit


def template_adds(source: str, text: str) -> TemplateEdit:
    """Add a file with a path below `template/`, with `{package}`."""

    def edit(checkout: Path) -> None:
        file = checkout / "template" / source.replace("{package}", "{{ package_name }}")
        file.parent.mkdir(parents=True, exist_ok=True)
        assert not file.exists(), f"{source} exists already"
        file.write_text(text, encoding="utf-8")

    return edit


def template_drops(path: str) -> TemplateEdit:
    """Delete all sources of a project's file."""

    def edit(checkout: Path) -> None:
        files = updating.sources(checkout, path)
        assert files, f"no file of the template becomes {path} any more"
        for file in files:
            file.unlink()

    return edit


def template_moves(path: str, new: str) -> TemplateEdit:
    """Rename all sources of a project's file."""

    def edit(checkout: Path) -> None:
        files = updating.sources(checkout, path)
        assert files, f"no file of the template becomes {path} any more"
        for file in files:
            suffix = ".jinja" if file.suffix == ".jinja" else ""
            file.rename(file.with_name(f"{new}{suffix}"))

    return edit


def copier_yml(change: Change) -> TemplateEdit:
    """Edit `copier.yml`."""

    def edit(checkout: Path) -> None:
        file = checkout / "copier.yml"
        text = file.read_text(encoding="utf-8")
        changed = change(text)
        assert changed != text, "the edit of copier.yml changes nothing"
        file.write_text(changed, encoding="utf-8")

    return edit


def new_question(text: str) -> TemplateEdit:
    """Add a question at the end of `copier.yml`, and to the list of known ones."""
    add = copier_yml(at_end(f"\n{text}"))
    name = text.partition(":")[0]

    def edit(checkout: Path) -> None:
        add(checkout)
        file = checkout / "includes" / "validators.jinja"
        known = file.read_text(encoding="utf-8")
        # Add it at the beginning: Jinja joins adjacent literals.
        changed, count = re.subn(r"(?<=set questions = \()", f"'{name} '", known)
        assert count == 1, "the list of questions is not where it was"
        file.write_text(changed, encoding="utf-8")

    return edit
