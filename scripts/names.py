"""Write the names that a project cannot have: `uv run scripts/names.py` (takes minutes, installs).

`includes/names.jinja` lists modules of this machine's Python versions and packages that projects
install. Names are only added, because an older Python or another system may have them. They apply
to new projects only: an existing project keeps its name through every update. The names that the
first release refused (`keywords`, `standard_library`, `…_at_first`) apply to all and never change.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import jinja2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import answer_sets  # noqa: E402
import environments  # noqa: E402 -- where the tests find interpreters
import projects  # noqa: E402 -- how they render

FILE = ROOT / "includes" / "names.jinja"
PYTHONS = (*answer_sets.PYTHONS, "3.14")

HEAD = """\
{#- Names that a project cannot have, written by scripts/names.py from Python and from what projects
    install. Projects of older releases may have any of them but those that the first release
    refused: the keywords, the standard library and `…_at_first`. -#}
"""
COMMENTS = {
    "keywords": "Keywords of Python, hard and soft.",
    "standard_library": "Top-level modules of the standard library.",
    "python_since": "Keywords and modules of Pythons that came later.",
    "installed_at_first": "Packages that projects of the first release install.",
    "installed": "Packages that projects install, and their modules; `…_since` was found later.",
    "installed_with_dlt": "Those of pipelines that dlt and its drivers bring along.",
    "commands": "Commands of a project's environment that are called like no package.",
    "beside_at_first": "Folders and modules of the tests of the first release.",
    "beside": "Folders beside the package, and modules of the tests, scripts and examples.",
}
LATER = ("installed", "commands", "beside")
"""Lists with a second one for each kind, of what was found since."""

ASK_PYTHON = """
import json, keyword, sys
names = [name.lower() for name in sys.stdlib_module_names if name[0] != "_"]
print(json.dumps([keyword.kwlist + keyword.softkwlist, names]))
"""
ASK_ENVIRONMENT = """
import importlib.metadata, json
print(json.dumps(list(importlib.metadata.packages_distributions())))
"""

Names = dict[str, Any]


def read() -> Names:
    """Return the file's lists by name."""
    module = jinja2.Template(FILE.read_text(encoding="utf-8")).module
    later = {f"{name}_since": dict(getattr(module, f"{name}_since")) for name in LATER}
    return {name: list(getattr(module, name)) for name in COMMENTS} | later


def words(names: list[str], indent: str) -> str:
    """Return names as a Jinja list in lines of at most 100 characters."""
    lines = textwrap.wrap(" ".join(sorted(set(names))), 90 - len(indent), break_on_hyphens=False)
    text = f"\n{indent}".join(
        f"'{' ' if number else ''}{line}'" for number, line in enumerate(lines or [""])
    )
    return f"(\n{indent}{text}).split()"


def write(lists: Names) -> str:
    """Return the file's text."""
    parts = [HEAD]
    for name, comment in COMMENTS.items():
        parts.append(f"{{#- {comment} -#}}\n{{%- set {name} = {words(lists[name], '  ')} -%}}\n")
        if name in LATER:
            kinds = (
                f"  '{kind}': {words(names, '    ')},\n"
                for kind, names in lists[f"{name}_since"].items()
            )
            parts.append(f"{{%- set {name}_since = {{\n{''.join(kinds)}}} -%}}\n")
    return "\n".join(parts)


def ask(python: str | Path, code: str) -> Any:
    """Run code in a Python and parse its output as JSON."""
    return json.loads(projects.run(python, "-c", code, cwd=ROOT).splitlines()[-1])


def normal(name: str) -> str:
    """Return a distribution's name in the form of a module's."""
    return re.sub(r"[-_.]+", "_", name).lower()


def of_python(lists: Names, python: str | Path) -> None:
    """Add keywords and modules of a Python that older versions do not have."""
    keywords, modules = ask(python, ASK_PYTHON)
    known = {*lists["keywords"], *lists["standard_library"]}
    lists["python_since"] += sorted({*keywords, *modules} - known)


def requirements(project: Path) -> set[str]:
    """Return the packages that a project's metadata requires."""
    document = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    metadata = document["project"]
    groups = [metadata["dependencies"], *metadata.get("optional-dependencies", {}).values()]
    groups += document.get("dependency-groups", {}).values()
    lines = (line for group in groups for line in group if isinstance(line, str))
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines} - {normal(metadata["name"])}


def beside(project: Path) -> set[str]:
    """Return a project's folders and the modules in them."""
    folders = {path.name for path in project.iterdir() if path.is_dir() and path.name[0] != "."}
    found = (project.glob(f"{folder}/*.py") for folder in ("tests", "scripts", "examples"))
    return folders | {path.stem for paths in found for path in paths}


def of_project(lists: Names, kind: str, answers: projects.Answers) -> None:
    """Add a project's own names and those it installs: packages of all systems, modules of this."""
    with tempfile.TemporaryDirectory() as folder:
        template = projects.copy_content(Path(folder, "template"))
        of_folder(lists, kind, projects.render(template, Path(folder, "project"), answers))


def of_folder(lists: Names, kind: str, project: Path) -> None:
    """Add the names of a rendered project and its packages."""
    projects.run("git", "init", "-q", cwd=project)
    projects.run("uv", "lock", "-q", cwd=project)
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    own = metadata["name"]
    locked = tomllib.loads((project / "uv.lock").read_text())["package"]
    packages = {one["name"] for one in locked} - {own}
    heavy = {*answer_sets.HEAVY} & {*metadata["optional-dependencies"]}
    left_out = [f"--no-extra={name}" for name in sorted(heavy)]
    projects.run("uv", "sync", "-q", "--all-extras", "--all-groups", *left_out, cwd=project)
    programs = project / ".venv" / "bin"
    modules = ask(programs / "python", ASK_ENVIRONMENT)
    installed = {normal(name) for name in (*packages, *modules) if name[0] != "_"}
    found = {
        "installed": installed,
        "commands": {
            path.name
            for path in programs.iterdir()
            if not re.search(r"(?i)^(de)?activate|\.bat$|\d$", path.name)
            and normal(path.name) not in installed
        },
        "beside": beside(project),
    }
    ours = {own, normal(own)}
    for name, names in found.items():
        known = set(lists[name])
        if name == "installed" and kind == "pipeline":
            known |= set(lists["installed_with_dlt"])
        new = (
            {one.lower() for one in names if re.fullmatch(r"[A-Za-z_][\w.-]*", one)} - known - ours
        )
        before = lists[f"{name}_since"].setdefault(kind, [])
        lists[f"{name}_since"][kind] = [*before, *new]


def main() -> None:
    """Read names from this machine's Python versions, and from complete projects of each kind."""
    lists = read()
    for python in filter(None, map(environments.find_python, PYTHONS)):
        of_python(lists, python)
    questions = projects.questions()
    for kind in projects.KINDS:
        everything = {
            "project_kind": kind,
            "extras": projects.choices(questions["extras"], kind),
            "features": projects.choices(questions["features"], kind),
        }
        pools = projects.choices(questions["work_pool_type"], kind) or ["process"]
        for pool in pools:
            of_project(lists, kind, {**everything, "work_pool_type": pool})
        of_project(lists, kind, {"project_kind": kind, "example": False})
    FILE.write_text(write(lists), encoding="utf-8")


if __name__ == "__main__":
    main()
