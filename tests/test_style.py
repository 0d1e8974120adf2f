"""The template reads like the projects that it renders."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import projects
import pytest
from projects import Render

TEMPLATE = projects.ROOT / "template"
LAYERS = {"common": 0, "tasks": 1, "flows": 2}


def template_files() -> list[Path]:
    return [path for path in projects.files(TEMPLATE) if path.suffix != ".pyc"]


def test_jinja_stands_in_one_line_of_ten_at_most() -> None:
    lines = [
        line
        for path in template_files()
        if path.suffix == ".jinja" and "LICENSE" not in path.name
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    # `${{ … }}` between `{% raw %}` and `{% endraw %}` is GitHub's.
    noisy = [line for line in lines if re.search(r"{%|(?<!\$){{", line)]
    assert len(noisy) <= len(lines) / 10


def test_only_files_with_jinja_have_the_suffix() -> None:
    for path in template_files():
        text = path.read_text(encoding="utf-8")
        if path.name == ".gitignore.jinja":
            continue  # without the suffix it would keep files out of this repository's git
        if path.suffix == ".jinja":
            assert "{{" in text or "{%" in text, path


def test_path_parts_are_short_and_fit_windows() -> None:
    for path in TEMPLATE.rglob("*"):
        assert len(path.name) <= 60, path
        assert not set(path.name) & set('"|<>:?*\\'), path


def test_optional_parts_are_folders_with_a_computed_name() -> None:
    """A name with a condition would tell neither the file's name nor the reason."""
    folders = {name for name, it in projects.QUESTIONS.items() if isinstance(it, dict)}
    for path in TEMPLATE.rglob("*"):
        if path.name.startswith("{{") and not path.name.startswith("{{ _copier_conf"):
            assert path.name.removeprefix("{{ ").removesuffix(" }}") in folders, path
        else:
            assert "{%" not in path.name, path


def test_python_files_are_python() -> None:
    """With relative imports, they hardly need the package's name."""
    for folder in TEMPLATE.glob("**/src"):
        for path in projects.files(folder):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".py":
                ast.parse(text, path.name)
            elif path.name.endswith(".py.jinja"):
                assert not re.search(r"^(from|import) \{\{", text, re.MULTILINE), path


def test_free_text_is_escaped_wherever_it_stands_in_code() -> None:
    text = re.compile(r"\{\{-? *(project_description|user_name|user_email)[^}]*\}\}")
    for path in template_files():
        if path.name in {"LICENSE.jinja", "SECURITY.md.jinja"}:
            continue
        for match in text.finditer(path.read_text(encoding="utf-8")):
            assert "to_json(ensure_ascii=false)" in match[0], f"{path}: {match[0]}"


def imported(path: Path, source: Path) -> set[str]:
    """Return the modules of its own package that a file imports at import time."""
    package = path.relative_to(source).parts[0]
    here = path.relative_to(source).with_suffix("").parts
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:  # not imports in functions or for types
        if isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level] if node.level else ()
            module = ".".join((*above, *(node.module or "").split("."))).strip(".")
            if module.startswith(package):
                found |= {f"{module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith(package)}
    return found


def test_imports_go_one_way(render: Render) -> None:
    source = render() / "src"
    package = "my_data_project"
    for path in source.glob(f"{package}/*/*.py"):
        layer = LAYERS.get(path.parent.name)
        if layer is None:
            continue
        for module in imported(path, source):
            other = LAYERS.get(module.split(".")[1], 9)
            assert other <= layer, f"{path.name} imports {module}"


@pytest.mark.parametrize("kind", projects.KINDS)
def test_no_circle_of_imports(kind: str, render: Render) -> None:
    source = render(project_kind=kind) / "src"
    paths = {
        ".".join(path.relative_to(source).with_suffix("").parts): path
        for path in source.glob("**/*.py")
    }
    graph = {
        name: {
            other if other in paths else other.rpartition(".")[0]
            for other in imported(path, source)
        }
        & paths.keys()
        for name, path in paths.items()
    }

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        for other in graph[name]:
            visit(other, (*trail, name))

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("kind", projects.KINDS)
def test_the_package_imports_nothing(kind: str, render: Render) -> None:
    init = next(render(project_kind=kind).glob("src/*/__init__.py"))
    assert not [
        node for node in ast.walk(ast.parse(init.read_text())) if isinstance(node, ast.Import)
    ]


def test_the_spelling_is_right() -> None:
    """In documentation, comments and messages, here and in the template."""
    projects.run("typos", cwd=projects.ROOT)
