"""Report bounds and version lists that are no longer needed.

    uv run scripts/expired_bounds.py

A weekly job runs it. It exits with 1 if something can be removed: an upper bound without which the
same version is resolved, or a list of Python versions that differs from what Prefect and dlt
support. The dependencies of older projects (`includes/pyproject/*_own`) are not checked.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import jinja2
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.13"
"""What requirements are resolved for; one for all, so that one answer comes out."""

LINE = re.compile(
    r'^ *"(?P<requirement>[a-zA-Z][^"]*[<>=~][^"]*)",?(?: *# *(?P<reason>.*))?$', re.MULTILINE
)
PARTS = ("dependencies", "extras", "dev", "groups")
"""Files of a kind that hold requirements."""

KNOWN_BY = {"pipeline": ("prefect", "dlt"), "library": ("prefect",), "plugin": ("prefect",)}
"""Whose support of a Python a kind needs."""


def uv(*words: str, given: str = "") -> str:
    """Run uv and return its output.

    Raises:
        RuntimeError: uv failed; with its message.
    """
    done = subprocess.run(
        ["uv", *words], capture_output=True, text=True, input=given, check=False, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def resolve(requirements: list[str], *options: str) -> dict[str, Version]:
    """Return the newest versions that fit together, by name."""
    compiled = uv(
        *("pip", "compile", "-q", "--no-header", "--no-annotate", "--upgrade"),
        *("--python-version", PYTHON, *options, "-"),
        given="\n".join(requirements),
    )
    pins = (line.split(";")[0].split("==") for line in compiled.splitlines() if "==" in line)
    return {name.split("[")[0].strip(): Version(version.strip()) for name, version in pins}


def is_upper(operator: str) -> bool:
    """Return whether a specifier excludes newer versions, as `~=` and `==` also do."""
    return operator in {"<", "<=", "==", "~=", "!="}


def unbounded(text: str, name: str) -> str:
    """Return a requirement without upper bounds if it has that name, or unchanged."""
    requirement = Requirement(text)
    if canonicalize_name(requirement.name) == name:
        kept = [str(one) for one in requirement.specifier if not is_upper(one.operator)]
        requirement.specifier = SpecifierSet(",".join(kept))
    return str(requirement)


def expired_bounds(place: str, files: list[Path]) -> list[str]:
    """Print the upper bounds of files that are installed together; return the expired ones."""
    found = [match for path in files for match in LINE.finditer(path.read_text(encoding="utf-8"))]
    # Without markers, so that the result does not depend on this system.
    requirements = [match["requirement"].partition(";")[0] for match in found]
    bounded: dict[str, tuple[str, str]] = {}
    for match in found:
        requirement = Requirement(match["requirement"])
        if any(is_upper(one.operator) for one in requirement.specifier):
            name = canonicalize_name(requirement.name)
            bounded.setdefault(name, (str(requirement.specifier), match["reason"]))
    expired = []
    for name, (bounds, reason) in bounded.items():
        what = f"{place}: {name}{bounds}"
        newest = resolve([name], "--no-deps")[name]
        if newest in SpecifierSet(bounds):
            print(f"{what}: not reached, {newest} is the newest")
            continue
        held = resolve(requirements)[name]
        free = resolve([unbounded(one, name) for one in requirements])[name]
        if held == free:
            expired.append(f"{what}: expired, without it {held} is chosen too; take it out")
        else:
            print(f"{what}: keeps {held} where {free} would do; its reason: {reason or 'none'}")
    return expired


def supported_pythons(name: str, folder: Path) -> set[str]:
    """Return the Python versions in the metadata of a distribution's newest release."""
    uv(
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--python-version",
        PYTHON,
        "--target",
        str(folder),
        name,
    )
    (found,) = metadata.distributions(name=name, path=[str(folder)])
    named = [text.rpartition(":: ")[2] for text in found.metadata.get_all("Classifier", [])]
    allowed = SpecifierSet(found.metadata["Requires-Python"])
    return {one for one in named if re.fullmatch(r"3\.\d+", one) and f"{one}.0" in allowed}


def listed_pythons(kind: str, questions: dict[str, dict[str, str]]) -> set[str]:
    """Return the Python versions that CI of a new project tests, with the lowest minimum."""
    listed = jinja2.Environment(autoescape=False)
    listed.filters["to_json"] = lambda value: value
    template = listed.from_string(questions["pythons"]["default"])
    lowest = questions["minimum_python"]["default"]
    pipeline = "." if kind == "pipeline" else ""
    text = template.render(pipeline=pipeline, engine="dlt", parts="chosen", minimum_python=lowest)
    return set(yaml.safe_load(text))


def expired_lists(copier: Path) -> list[str]:
    """Return what is missing in or should be removed from a list of Python versions."""
    questions = yaml.safe_load(copier.read_text(encoding="utf-8"))
    expired = []
    with tempfile.TemporaryDirectory() as folder:
        names = {name for names in KNOWN_BY.values() for name in names}
        supported = {name: supported_pythons(name, Path(folder) / name) for name in names}
    for kind, names in KNOWN_BY.items():
        wanted = set.intersection(*(supported[name] for name in names))
        listed = listed_pythons(kind, questions)
        who = " and ".join(names)
        expired += [
            f"{kind}: Python {one} is known to {who}, and missing in CI" for one in wanted - listed
        ]
        expired += [
            f"{kind}: Python {one} is in CI, and not known to {who}" for one in listed - wanted
        ]
    return expired


def main() -> int:
    """Print the report and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, help="the template's")
    folder = parser.parse_args().folder
    expired = expired_bounds("tests", [folder / "pyproject.toml"])
    for kind in KNOWN_BY:
        parts = folder / "includes" / "pyproject" / kind
        files = [path for name in PARTS if (path := parts / f"{name}.toml").is_file()]
        expired += expired_bounds(kind, files)
    expired += expired_lists(folder / "copier.yml")
    for line in expired:
        print(line)
    print(f"{len(expired)} expired")
    return 1 if expired else 0


if __name__ == "__main__":
    sys.exit(main())
