"""Rules for all namespaces, including those that you add."""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import my_task_library as package
from my_task_library.common import settings

ROOT = Path(__file__).parents[1]
PACKAGE = package.__name__
NAMES = [found.name for found in pkgutil.iter_modules(package.__path__) if found.name != "common"]
MODULES = {name: import_module(f"{PACKAGE}.{name}") for name in NAMES}
IMPORT = """
import importlib, json, sys
known = set(sys.modules)
importlib.import_module(sys.argv[1])
found = {sys.argv[1]: sorted(set(sys.modules) - known)}
import prefect.cache_policies, prefect.flows
for name in sys.argv[2:]:
    known = {one.partition(".")[0] for one in sys.modules}
    importlib.import_module(name)
    found[name] = sorted({one.partition(".")[0] for one in sys.modules} - known)
print(json.dumps(found))
"""


def test_importing_costs_little_more_than_prefect() -> None:
    names = [PACKAGE, *(f"{PACKAGE}.{name}" for name in NAMES)]
    command = [sys.executable, "-c", IMPORT, *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    for name, loaded in json.loads(done.stdout).items():
        others = {*loaded} - sys.stdlib_module_names - {PACKAGE}
        assert not others, f"{name} imports {sorted(others)}: import it where it is used"


class Imports(ast.NodeVisitor):
    """Collects a module's imports, each with the extra that its `with` block names."""

    def __init__(self) -> None:
        self.extra: str | None = None
        self.found: set[tuple[str, str | None]] = set()
        self.behind: set[tuple[int, str, str]] = set()
        """Own modules that may import an extra's packages, because they are imported like that."""

    def visit_With(self, node: ast.With) -> None:
        outside = self.extra
        for call in (item.context_expr for item in node.items):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("required"):
                (given,) = [*call.args, *(keyword.value for keyword in call.keywords)]
                text = ast.unparse(call)
                assert isinstance(given, ast.Constant), f"{text}: write the extra's name there"
                self.extra = str(given.value)
        self.generic_visit(node)
        self.extra = outside

    def visit_If(self, node: ast.If) -> None:
        # Imports for types only are not executed.
        for_types = re.fullmatch(r"(\w+\.)?TYPE_CHECKING", ast.unparse(node.test))
        seen = node.orelse if for_types else [node.test, *node.body]
        for child in seen if seen is node.orelse else [*seen, *node.orelse]:
            self.visit(child)

    def visit_Call(self, node: ast.Call) -> None:
        match node.args:
            case [ast.Constant(value=str(name)), *_] if not name.startswith("."):
                if ast.unparse(node.func).rpartition(".")[2] in {"import_module", "__import__"}:
                    self.found.add((name, self.extra))
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {(alias.name, self.extra) for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and not node.level:
            self.found.add((node.module, self.extra))
        elif self.extra:
            module = [node.module] if node.module else []
            names = {".".join([*module, alias.name]) for alias in node.names}.union(module)
            self.behind |= {(node.level, name, self.extra) for name in names}


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    own = {None: project["dependencies"], **project["optional-dependencies"]}
    declared = {
        extra: {canonicalize_name(Requirement(line).name) for line in lines}
        for extra, lines in own.items()
    }
    providers = metadata.packages_distributions()
    read = {path: Imports() for path in sorted((ROOT / "src").rglob("*.py"))}
    behind: dict[Path, set[str]] = {}
    for path, imports in read.items():
        imports.visit(ast.parse(path.read_text("utf-8")))
        for dots, name, extra in imports.behind:
            own = path.parents[dots - 1].joinpath(*name.split(".")).with_suffix(".py")
            behind.setdefault(own, set()).add(extra)
    for path, imports in read.items():
        unknown = {one[-1] for one in (*imports.found, *imports.behind)} - declared.keys()
        assert not unknown, f"{path.relative_to(ROOT)} names extras that are not there: {unknown}"
        for module, around in imports.found:
            name = module.partition(".")[0]
            names = {canonicalize_name(one) for one in providers.get(name, [name])}
            extras = {around} if around else behind.get(path, set())
            allowed = declared[None].union(*(declared.get(extra, set()) for extra in extras))
            known = name in sys.stdlib_module_names or name == PACKAGE or names & allowed
            where = f"the extra {' or '.join(extras)}" if extras else "dependencies"
            assert known, f"{path.relative_to(ROOT)} imports {name}: declare it in {where}"


def test_the_readme_has_each_namespace() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"{PACKAGE}.{name}" in readme, f"README.md does not name {PACKAGE}.{name}"
    rows = re.findall(rf"(?m)^\| `{PACKAGE}\.(\w+)` \|", readme)
    gone = {*rows} - {*NAMES}
    assert not gone, f"README.md has rows of namespaces that are gone: {sorted(gone)}"


WORDS = "token|password|passwd|pwd|passphrase|secret|credentials?|api_?key|private_key"
SECRET = re.compile(rf"(?:^|_)({WORDS})s?(?:$|_)")


@pytest.mark.parametrize("space", NAMES)
def test_secrets_are_not_plain_text(space: str) -> None:
    for name in MODULES[space].__all__:
        function = getattr(getattr(MODULES[space], name), "fn", getattr(MODULES[space], name))
        parameters = inspect.signature(function).parameters.values() if callable(function) else ()
        for one in filter(lambda parameter: SECRET.search(parameter.name), parameters):
            plain = re.search(r"\b(str|Any)\b|_empty", str(one.annotation))
            assert not plain, f"{space}.{name}: make {one.name} a SecretStr, which nothing shows"


def test_secrets_in_settings_are_not_plain_text() -> None:
    for name, field in settings.Settings.model_fields.items():
        if SECRET.search(name):
            assert "SecretStr" in str(field.annotation), f"make the setting {name} a SecretStr"
