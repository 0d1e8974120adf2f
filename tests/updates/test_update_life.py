"""A project's life: what its user did, what the template did, what an update makes of both.

`LIFE` is the specification. Each row is tried for its kinds and checked to the last byte:

* a file that the row names must come out as the row says;
* any other file that the template owns must equal a fresh render of the new template;
* any other file (seeds, the user's own) must be as it was before the update.

No row may leave a `.rej` file, an empty folder, or a conflict it does not announce.

`update.py` makes the same of each row, but for what a row's `by_script` says, and for what follows
from `-d`: that refreshes files of the user's that nobody has edited.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import copier
import edits
import pytest
import update_in_process
import updating
from edits import (
    FIRST,
    LAST,
    UserEdit,
    adds_dependency,
    after,
    at_end,
    at_top,
    bumps_dependency,
    copier_yml,
    drops_dependency,
    new_question,
    swap,
    template,
    template_adds,
    template_dependency,
    template_drops,
    template_moves,
    text_is,
    uv_add,
    uv_remove,
    windows_lines,
    you,
    you_delete,
    you_make_executable,
    you_move,
    you_rename_package,
    you_run,
    you_write,
)
from updating import CURRENT, KINDS, git

if TYPE_CHECKING:
    from pathlib import Path

    from updating import TemplateRepository

# -- What may come out ------------------------------------------------------------------------


@dataclass(frozen=True)
class Lines:
    """A file's lines: `lines` stand in it once each, `without` nowhere.

    Subclasses say what the whole file equals.
    """

    lines: tuple[str, ...]
    without: tuple[str, ...] = ()

    def __init__(self, *lines: str, without: tuple[str, ...] = ()) -> None:
        """Keep the lines."""
        object.__setattr__(self, "lines", lines)
        object.__setattr__(self, "without", without)


class Merged(Lines):
    """Both: the user's edits, made to a fresh render of the new template."""


class Yours(Lines):
    """The user's file, as it was before the update."""


class Theirs(Lines):
    """The template's file, as in a fresh render."""


class Gone(Lines):
    """No such file; what it held is in git's history."""


@dataclass(frozen=True)
class Conflict:
    """Both texts stand between markers, and git calls the file unmerged."""

    yours: str
    theirs: str


Outcome = Lines | Conflict

# A plugin's files lie where a library's do; rows without kinds take turns over all three.
ALL = ("pipeline", "library")
PIPELINE = ("pipeline",)
PLUGIN = ("plugin",)


@dataclass(frozen=True)
class Row:
    """One story.

    Args:
        story: What happens, in words.
        kinds: The kinds of project it is tried for; by default one, each row's the next one.
        data: Answers of the project, besides its kind.
        base: What the old template has that the work tree may lack.
        you: What the user did and committed.
        new: What the template did.
        answers: `-d` of each update, one after the other.
        between: What the user does after the first update.
        then: What comes out, by path.
        monorepo: Whether the project stands in a folder of a larger repository.
        uncommitted: What the user did and did not commit.
        refused: The reason Copier gives for doing nothing.
        by_script: What comes out of `update.py` instead, by path.
        large: Whether it differs from another row only in values, and is left to the large run.
    """

    story: str
    kinds: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    base: tuple[edits.TemplateEdit, ...] = ()
    you: tuple[UserEdit, ...] = ()
    new: tuple[edits.TemplateEdit, ...] = ()
    answers: tuple[dict[str, Any], ...] = ({},)
    between: tuple[UserEdit, ...] = ()
    then: dict[str, Outcome] = field(default_factory=dict)
    monorepo: bool = False
    uncommitted: tuple[UserEdit, ...] = ()
    refused: str = ""
    by_script: dict[str, Outcome] = field(default_factory=dict)
    large: bool = False


# -- Files that rows need and a work tree may lack -------------------------------------------


def ensure(path: str, source: str, text: str) -> edits.TemplateEdit:
    """Give the old template a file unless it has one of that name."""

    def edit(checkout: Path) -> None:
        if not updating.sources(checkout, path):
            template_adds(source, text)(checkout)

    return edit


CI = ".github/workflows/ci.yml"
JOB = "    runs-on: ubuntu-latest\n    timeout-minutes: 15\n    steps:\n      - run: make {}\n"
CI_EXISTS = ensure(
    CI,
    "{{ github }}/workflows/ci.yml",
    "name: CI\n\non:\n  push:\n\njobs:\n"
    + "\n".join(f"  {name}:\n{JOB.format(name)}" for name in ("check", "tests", "build")),
)
DOCKERFILE = ensure(
    "Dockerfile",
    "{{ container }}/Dockerfile",
    "FROM python:3.13-slim\nWORKDIR /app\nCOPY . .\nRUN pip install .\nUSER 1000\n",
)
ERRORS = "src/{package}/common/errors.py"
RETRIES = "src/{package}/common/retries.py"
MY_JOB = "  nightly:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make nightly"
FLOW = '"""Mine."""\n\nfrom prefect import flow\n\n\n@flow\ndef mine() -> None:\n    """Run."""\n'
DOCSTRING = (
    '"""The two kinds of errors that tasks raise: those that a retry may cure, and all others."""'
)
NEW_DOCSTRING = '"""The kinds of error that a task may raise on purpose."""'
MY_DOCSTRING = '"""Our errors."""'
ATTEMPTS = "ATTEMPTS = 4"
CLASS = '\n\nclass QuotaError(TransientError):\n    """Mine."""'

PYPROJECT = "pyproject.toml"
PARTS = {"extras": ["worker", "startup_hook"]}

LIFE = [
    # -- `uv add` and its like against the template's dependencies -----------------------------
    *(
        Row(
            f"uv add of a name that sorts {where}; the template {what}",
            kinds=ALL,
            you=(uv_add(f"{name}>=1"),),
            new=(template_dependency(change),),
            then={PYPROJECT: Merged(f'  "{name}>=1",', *lines)},
            # The gate has each name with two of the changes.
            large=place != number % 3,
        )
        for place, (where, name) in enumerate(
            (("first", "aiosql"), ("in the middle", "nmslib"), ("last", "zarr"))
        )
        for number, (what, change, lines) in enumerate(
            (
                (
                    "adds one before the others",
                    adds_dependency("tenacity>=9", FIRST),
                    ['  "tenacity>=9", # new'],
                ),
                (
                    "adds one after the others",
                    adds_dependency("tenacity>=9", LAST),
                    ['  "tenacity>=9", # new'],
                ),
                ("drops its last", drops_dependency(LAST), []),
                ("drops its first", drops_dependency(FIRST), []),
                ("bumps its last", bumps_dependency(LAST), []),
                ("bumps its first", bumps_dependency(FIRST), []),
            )
        )
    ),
    Row(
        "uv add of three at once, one with an extra and a marker; the template adds and bumps",
        you=(uv_add("aiosql>=1", "polars[calamine]>=1", "zarr>=3 ; python_version >= '3.12'"),),
        new=(
            template_dependency(adds_dependency("tenacity>=9")),
            template_dependency(bumps_dependency(FIRST)),
        ),
        then={
            PYPROJECT: Merged(
                '  "aiosql>=1",', '  "polars[calamine]>=1",', '  "tenacity>=9", # new'
            )
        },
    ),
    Row(
        "uv add, then uv remove of the same; the template adds one",
        you=(uv_add("aiosql>=1"), uv_remove("aiosql")),
        new=(template_dependency(adds_dependency("tenacity>=9")),),
        then={PYPROJECT: Merged('  "tenacity>=9", # new', without=("aiosql",))},
    ),
    Row(
        "uv add --optional of an own extra; the template adds a dependency",
        you=(uv_add("--optional", "reports", "jinja2>=3"),),
        new=(template_dependency(adds_dependency("tenacity>=9")),),
        then={PYPROJECT: Merged("reports = [", '  "tenacity>=9", # new')},
    ),
    Row(
        "uv add --group of an own group; the template bumps a dependency",
        you=(uv_add("--group", "notebooks", "jupyterlab>=4"),),
        new=(template_dependency(bumps_dependency(LAST)),),
        then={PYPROJECT: Merged("notebooks = [")},
    ),
    Row(
        "a tool added to the dev extra by hand; the template adds one there",
        you=(
            you(
                PYPROJECT,
                swap(
                    "  # Yours, below this line:\n]\n\n[dependency-groups]",
                    '  # Yours, below this line:\n  "hypothesis>=6",\n]\n\n[dependency-groups]',
                ),
            ),
        ),
        new=(template(PYPROJECT, after("dev = [", '  "pytest-timeout>=2",')),),
        then={PYPROJECT: Merged('  "hypothesis>=6",', '  "pytest-timeout>=2",')},
    ),
    Row(
        "the user caps the template's own pin; the template bumps it: only a person can say",
        you=(you(PYPROJECT, lambda text: bumps_dependency(LAST)(text).replace(".999", ".5")),),
        new=(template_dependency(bumps_dependency(LAST)),),
        then={PYPROJECT: Conflict(yours=".5", theirs=".999")},
    ),
    Row(
        "the user caps the template's last pin; the template bumps its first",
        you=(you(PYPROJECT, bumps_dependency(LAST)),),
        new=(template_dependency(bumps_dependency(FIRST)),),
        then={PYPROJECT: Merged()},
    ),
    # -- pyproject.toml: metadata and tools ---------------------------------------------------
    Row(
        "rewrote the description, added a keyword list and URLs; the template adds a dependency",
        you=(
            you(
                PYPROJECT,
                lambda text: re.sub(r"(?m)^description = .*$", 'description = "Ours."', text),
            ),
            you(PYPROJECT, after("readme = ", 'keywords = ["ours"]')),
            you(PYPROJECT, at_end('\n[project.urls]\nHome = "https://example.com"')),
        ),
        new=(template_dependency(adds_dependency("tenacity>=9")),),
        then={
            PYPROJECT: Merged(
                'description = "Ours."',
                'keywords = ["ours"]',
                'Home = "https://example.com"',
                '  "tenacity>=9", # new',
            )
        },
    ),
    Row(
        "an own classifier; the template adds one at the other end",
        you=(you(PYPROJECT, after("classifiers = [", '  "Framework :: Ours",')),),
        new=(template(PYPROJECT, after("Typing :: Typed", '  "Topic :: Database",')),),
        then={PYPROJECT: Merged('  "Framework :: Ours",', '  "Topic :: Database",')},
    ),
    Row(
        "switched a ruff rule off below the line; the template selects one more",
        you=(you(PYPROJECT, after('"TRY003"', '  "PLR2004", # ours')),),
        new=(template(PYPROJECT, after('"W", #', '  "YTT", # sys.version')),),
        then={PYPROJECT: Merged('  "PLR2004", # ours', '  "YTT", # sys.version')},
    ),
    Row(
        "another line length; the template changes a setting some lines away",
        you=(you(PYPROJECT, swap("line-length = 100", "line-length = 120")),),
        new=(template(PYPROJECT, swap('convention = "google"', 'convention = "numpy"')),),
        then={PYPROJECT: Merged("line-length = 120", 'convention = "numpy"')},
    ),
    Row(
        "another line length; the template changes the same line",
        you=(you(PYPROJECT, swap("line-length = 100", "line-length = 120")),),
        new=(template(PYPROJECT, swap("line-length = 100", "line-length = 99")),),
        then={PYPROJECT: Conflict(yours="line-length = 120", theirs="line-length = 99")},
    ),
    Row(
        "the user and the template make the same change",
        you=(you(PYPROJECT, swap("line-length = 100", "line-length = 99")),),
        new=(template(PYPROJECT, swap("line-length = 100", "line-length = 99")),),
        then={PYPROJECT: Theirs("line-length = 99")},
    ),
    Row(
        "an own tool's table at the end; the template adds a table there too",
        you=(you(PYPROJECT, at_end("\n[tool.ours]\nlevel = 3")),),
        new=(template(PYPROJECT, at_end("\n[tool.theirs]\nlevel = 1")),),
        then={PYPROJECT: Conflict(yours="[tool.ours]", theirs="[tool.theirs]")},
    ),
    Row(
        "an own command beside the project's; the template adds a dependency",
        kinds=PIPELINE,
        you=(you(PYPROJECT, after("[project.scripts]", 'ours = "{package}.cli:main"')),),
        new=(template_dependency(adds_dependency("tenacity>=9")),),
        then={PYPROJECT: Merged('ours = "{package}.cli:main"', '  "tenacity>=9", # new')},
    ),
    # -- Seeds: the user's from the first commit -----------------------------------------------
    Row(
        "rewrote README.md; the template rewrites it too",
        you=(you("README.md", text_is("# Ours\n")),),
        new=(template("README.md", text_is("# Theirs\n")),),
        then={"README.md": Yours("# Ours")},
    ),
    Row(
        "left README.md alone; the template rewrites it",
        new=(template("README.md", text_is("# Theirs\n")),),
        then={"README.md": Yours(without=("# Theirs",))},
    ),
    Row(
        "deleted README.md; the template rewrites it",
        you=(you_delete("README.md"),),
        new=(template("README.md", text_is("# Theirs\n")),),
        then={"README.md": Gone()},
    ),
    Row(
        "wrote entries into CHANGELOG.md; the template changes its head",
        you=(you("CHANGELOG.md", at_end("\n## 1.0.0\n\n- Ours.")),),
        new=(template("CHANGELOG.md", text_is("# History\n")),),
        then={"CHANGELOG.md": Yours("- Ours.", without=("# History",))},
    ),
    Row(
        "replaced LICENSE by the company's; the template corrects its texts",
        you=(you("LICENSE", text_is("Ours alone.\n")),),
        new=(template("LICENSE", at_end("Theirs.")),),
        then={"LICENSE": Yours("Ours alone.")},
    ),
    Row(
        "rewrote prefect.yaml; the template rewrites it too",
        kinds=PIPELINE,
        you=(you("prefect.yaml", text_is("deployments: [] # ours\n")),),
        new=(template("prefect.yaml", text_is("deployments: [] # theirs\n")),),
        then={"prefect.yaml": Yours("deployments: [] # ours")},
    ),
    Row(
        "deleted prefect.yaml; the template changes it",
        kinds=PIPELINE,
        you=(you_delete("prefect.yaml"),),
        new=(template("prefect.yaml", at_end("# theirs")),),
        then={"prefect.yaml": Gone()},
    ),
    Row(
        "edited a flow; the template changes the same lines",
        kinds=PIPELINE,
        you=(you("src/{package}/flows/tables.py", at_top("# ours")),),
        new=(template("src/{package}/flows/tables.py", at_top("# theirs")),),
        then={"src/{package}/flows/tables.py": Yours("# ours", without=("# theirs",))},
    ),
    Row(
        "deleted a flow; the template changes it",
        kinds=PIPELINE,
        you=(you_delete("src/{package}/flows/transform_flow.py"),),
        new=(template("src/{package}/flows/transform_flow.py", at_top("# theirs")),),
        then={"src/{package}/flows/transform_flow.py": Gone()},
    ),
    Row(
        "renamed a flow; the template changes it under its old name",
        kinds=PIPELINE,
        you=(you_move("src/{package}/flows/transform_flow.py", "src/{package}/flows/derive.py"),),
        new=(template("src/{package}/flows/transform_flow.py", at_top("# theirs")),),
        then={
            "src/{package}/flows/transform_flow.py": Gone(),
            "src/{package}/flows/derive.py": Yours(without=("# theirs",)),
        },
    ),
    Row(
        "a new flow of the user's; the template adds one of another name",
        kinds=PIPELINE,
        you=(you_write("src/{package}/flows/mine.py", FLOW),),
        new=(template_adds("{{ pipeline }}/src/{package}/flows/theirs.py", "THEIRS = 1\n"),),
        then={
            "src/{package}/flows/mine.py": Yours("def mine() -> None:"),
            "src/{package}/flows/theirs.py": Gone(),
        },
    ),
    Row(
        "a new flow of the user's; the template adds one of the same name",
        kinds=PIPELINE,
        you=(you_write("src/{package}/flows/mine.py", FLOW),),
        new=(template_adds("{{ pipeline }}/src/{package}/flows/mine.py", "THEIRS = 1\n"),),
        then={"src/{package}/flows/mine.py": Yours("def mine() -> None:")},
    ),
    Row(
        "deleted the folder of flows; the template changes one and adds one",
        kinds=PIPELINE,
        you=(you_delete("src/{package}/flows"),),
        new=(
            template("src/{package}/flows/tables.py", at_top("# theirs")),
            template_adds("{{ pipeline }}/src/{package}/flows/theirs.py", "THEIRS = 1\n"),
        ),
        then={
            "src/{package}/flows/tables.py": Gone(),
            "src/{package}/flows/theirs.py": Gone(),
        },
    ),
    Row(
        "moved the flows into folders by team; the template changes them",
        kinds=PIPELINE,
        you=(you_move("src/{package}/flows/tables.py", "src/{package}/flows/sales/tables.py"),),
        new=(template("src/{package}/flows/tables.py", at_top("# theirs")),),
        then={
            "src/{package}/flows/tables.py": Gone(),
            "src/{package}/flows/sales/tables.py": Yours(without=("# theirs",)),
        },
    ),
    Row(
        "edited a flow; the template deletes it",
        kinds=PIPELINE,
        you=(you("src/{package}/flows/transform_flow.py", at_top("# ours")),),
        new=(template_drops("src/{package}/flows/transform_flow.py"),),
        then={"src/{package}/flows/transform_flow.py": Yours("# ours")},
    ),
    Row(
        "edited a task; the template renames it",
        kinds=PIPELINE,
        you=(you("src/{package}/tasks/transform.py", at_top("# ours")),),
        new=(template_moves("src/{package}/tasks/transform.py", "derive.py"),),
        then={
            "src/{package}/tasks/transform.py": Yours("# ours"),
            "src/{package}/tasks/derive.py": Gone(),
        },
    ),
    Row(
        "made a seed executable; the template changes it",
        kinds=PIPELINE,
        you=(you_make_executable("src/{package}/flows/tables.py"),),
        new=(template("src/{package}/flows/tables.py", at_top("# theirs")),),
        then={"src/{package}/flows/tables.py": Yours(without=("# theirs",))},
    ),
    Row(
        "deleted the tests that came along, wrote own ones; the template adds one",
        you=(
            you_run("git", "rm", "-r", "--quiet", "--ignore-unmatch", "tests/test_*.py"),
            you_write("tests/test_mine.py", "def test_mine() -> None:\n    assert True\n"),
        ),
        new=(template_adds("tests/test_theirs.py", "THEIRS = 1\n"),),
        then={
            "tests/test_mine.py": Yours("def test_mine() -> None:"),
            "tests/test_theirs.py": Gone(),
        },
    ),
    # -- Modules and settings that the template owns -------------------------------------------
    Row(
        "edited a common module; the template changes another line of it",
        you=(you(ERRORS, at_end(CLASS)),),
        new=(template(ERRORS, swap(DOCSTRING, NEW_DOCSTRING)),),
        then={ERRORS: Merged(NEW_DOCSTRING, "class QuotaError(TransientError):")},
    ),
    Row(
        "edited a common module; the template changes the same line",
        you=(you(ERRORS, swap(DOCSTRING, MY_DOCSTRING)),),
        new=(template(ERRORS, swap(DOCSTRING, NEW_DOCSTRING)),),
        then={ERRORS: Conflict(yours=MY_DOCSTRING, theirs=NEW_DOCSTRING)},
    ),
    Row(
        "changed a constant of a common module; the template changes the function below",
        you=(you(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 9")),),
        new=(template(RETRIES, swap("    return isinstance(", "    return not not isinstance(")),),
        then={
            RETRIES: Merged(
                "ATTEMPTS = 9",
                "    return not not isinstance("
                "state.result(raise_on_failure=False), errors.TransientError)",
            )
        },
    ),
    Row(
        "edited a common module; the template leaves it alone",
        you=(you(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 9")),),
        new=(template(ERRORS, swap(DOCSTRING, NEW_DOCSTRING)),),
        then={RETRIES: Merged("ATTEMPTS = 9")},
    ),
    Row(
        "deleted a common module; the template changes it",
        you=(you_delete(RETRIES),),
        new=(template(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 5")),),
        then={RETRIES: Gone()},
    ),
    Row(
        "moved a common module; the template changes it under its old name",
        you=(you_move(RETRIES, "src/{package}/common/again.py"),),
        new=(template(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 5")),),
        then={RETRIES: Gone(), "src/{package}/common/again.py": Yours(ATTEMPTS)},
    ),
    Row(
        "wrote a common module; the template adds one of the same name: both texts stay",
        you=(you_write("src/{package}/common/clock.py", "OURS = 1\n"),),
        new=(template_adds("src/{package}/common/clock.py", "THEIRS = 1\n"),),
        then={"src/{package}/common/clock.py": Conflict(yours="OURS = 1", theirs="THEIRS = 1")},
    ),
    Row(
        "edited a common module; the template deletes it: git has it, and --verify tells",
        you=(you(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 9")),),
        new=(template_drops(RETRIES),),
        then={RETRIES: Gone()},
        by_script={RETRIES: Yours("ATTEMPTS = 9")},
    ),
    Row(
        "edited a common module; the template lets go of it by listing it in `_exclude`",
        you=(you(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 9")),),
        new=(
            template_drops(RETRIES),
            copier_yml(after("_copier_operation == 'update'", "    /src/*/common/retries.py")),
        ),
        then={RETRIES: Yours("ATTEMPTS = 9")},
    ),
    Row(
        "ignored more files at the end of .gitignore; the template ignores more at the top",
        you=(you(".gitignore", at_end("/scratch/")),),
        new=(template(".gitignore", after("__pycache__/", ".cache/")),),
        then={".gitignore": Merged("/scratch/", ".cache/")},
    ),
    Row(
        "re-exported a name in the package's __init__; the template leaves it alone",
        you=(you("src/{package}/__init__.py", at_end("\nOURS = 1")),),
        new=(template(ERRORS, swap(DOCSTRING, NEW_DOCSTRING)),),
        then={"src/{package}/__init__.py": Merged("OURS = 1")},
    ),
    Row(
        "made a template-owned file executable; the template changes its text",
        you=(you_make_executable(RETRIES),),
        new=(template(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 5")),),
        then={RETRIES: Merged("ATTEMPTS = 5")},
    ),
    # -- CI ------------------------------------------------------------------------------------
    Row(
        "added a CI job at the end; the template changes the head",
        base=(CI_EXISTS,),
        you=(you(CI, at_end(MY_JOB)),),
        new=(template(CI, at_top("# Checks every change.")),),
        then={CI: Merged("      - run: make nightly", "# Checks every change.")},
    ),
    Row(
        "gave the first CI job more time; the template does something else to it",
        base=(CI_EXISTS,),
        you=(you(CI, swap("timeout-minutes: 15", "timeout-minutes: 45")),),
        new=(template(CI, after("{{ jobs() }}", "  # Ours first.")),),
        then={CI: Merged("    timeout-minutes: 45", "  # Ours first.")},
    ),
    Row(
        "gave a CI job more time; the template changes the same line",
        base=(CI_EXISTS,),
        you=(you(CI, swap("timeout-minutes: 15", "timeout-minutes: 45")),),
        new=(template(CI, swap("timeout-minutes: 15", "timeout-minutes: 20")),),
        then={CI: Conflict(yours="timeout-minutes: 45", theirs="timeout-minutes: 20")},
    ),
    Row(
        "deleted the CI workflow; the template changes it",
        base=(CI_EXISTS,),
        you=(you_delete(CI),),
        new=(template(CI, at_top("# Checks every change.")),),
        then={CI: Gone()},
    ),
    Row(
        "an own workflow beside the template's; the template changes its own",
        base=(CI_EXISTS,),
        you=(you_write(".github/workflows/mine.yml", "name: Mine\n"),),
        new=(template(CI, at_top("# Checks every change.")),),
        then={
            ".github/workflows/mine.yml": Yours("name: Mine"),
            CI: Theirs("# Checks every change."),
        },
    ),
    # -- Options, by `copier update -d` --------------------------------------------------------
    Row(
        "an option switched on",
        base=(DOCKERFILE,),
        data={"features": []},
        answers=({"features": ["container"]},),
        then={"Dockerfile": Theirs()},
    ),
    Row(
        "an option switched on, with a dependency of the user's own",
        kinds=PIPELINE,
        you=(uv_add("zarr>=3"),),
        answers=({"extras": ["postgres"]},),
        then={PYPROJECT: Merged('  "zarr>=3",', "postgres = [")},
    ),
    Row(
        "an option switched off",
        base=(DOCKERFILE,),
        data={"features": ["container"]},
        answers=({"features": []},),
        then={"Dockerfile": Gone()},
    ),
    Row(
        "an option switched on, off and on again",
        base=(DOCKERFILE,),
        data={"features": []},
        answers=({"features": ["container"]}, {"features": []}, {"features": ["container"]}),
        then={"Dockerfile": Theirs()},
    ),
    Row(
        "an option switched off with edits in its file: git has it, and --verify tells",
        base=(DOCKERFILE,),
        data={"features": ["container"]},
        you=(you("Dockerfile", at_end("# ours")),),
        answers=({"features": []},),
        then={"Dockerfile": Gone()},
        by_script={"Dockerfile": Yours("# ours")},
    ),
    Row(
        "an option switched off and on again after edits: the file comes back as new",
        base=(DOCKERFILE,),
        data={"features": ["container"]},
        you=(you("Dockerfile", at_end("# ours")),),
        answers=({"features": []}, {"features": ["container"]}),
        then={"Dockerfile": Theirs(without=("# ours",))},
        # The second update refreshes what the first one did: nobody has edited it.
        by_script={"Dockerfile": Conflict(yours="# ours", theirs=""), "README.md": Theirs()},
    ),
    Row(
        "an option switched on, its file edited, another one switched on",
        base=(DOCKERFILE,),
        data={"features": []},
        answers=({"features": ["container"]}, {"features": ["container", "docs"]}),
        between=(you("Dockerfile", at_end("# ours")),),
        then={"Dockerfile": Yours("# ours")},
        by_script={"README.md": Theirs()},
    ),
    Row(
        "an option switched on whose file the user had written already: both texts stay",
        base=(DOCKERFILE,),
        data={"features": []},
        you=(you_write("Dockerfile", "FROM ours\n"),),
        answers=({"features": ["container"]},),
        then={"Dockerfile": Conflict(yours="FROM ours", theirs="FROM ")},
    ),
    Row(
        "extras on, off and on again, with a dependency of the user's own",
        kinds=PIPELINE,
        you=(uv_add("aiosql>=1"),),
        answers=({"extras": ["duckdb", "dask"]}, {"extras": []}, {"extras": ["dask"]}),
        then={PYPROJECT: Merged('  "aiosql>=1",', "dask = [", without=("duckdb = [",))},
    ),
    Row(
        "CI moved from GitHub to GitLab with an own workflow there",
        base=(CI_EXISTS,),
        you=(you_write(".github/workflows/mine.yml", "name: Mine\n"),),
        answers=({"ci": "gitlab"},),
        then={CI: Gone(), ".github/workflows/mine.yml": Yours("name: Mine")},
    ),
    Row(
        "another licence: the text in LICENSE stays the user's, the metadata follows",
        data={"license": "MIT"},
        answers=({"license": "Apache-2.0"},),
        then={
            "LICENSE": Yours("MIT License"),
            PYPROJECT: Theirs('license = "Apache-2.0"', without=('license = "MIT"',)),
        },
        by_script={"LICENSE": Theirs(without=("MIT License",))},
    ),
    Row(
        "a newer oldest Python, while the template adds a dependency",
        answers=({"minimum_python": "3.13"},),
        new=(template_dependency(adds_dependency("tenacity>=9")),),
        then={PYPROJECT: Theirs('requires-python = ">=3.13"', '  "tenacity>=9", # new')},
    ),
    Row(
        "another author, in hostile letters",
        answers=({"user_name": 'Ann "Q" O\'Neil 🚀'},),
        then={PYPROJECT: Theirs()},
    ),
    # -- Renames -------------------------------------------------------------------------------
    Row(
        "renamed the package: git mv, then -d package_name",
        kinds=ALL,
        you=(you_rename_package("acme_orders"),),
        answers=({"package_name": "acme_orders"},),
        then={"src/acme_orders/common/retries.py": Theirs(ATTEMPTS)},
    ),
    Row(
        "renamed the package, with own modules, an edited seed and an edited common module",
        you=(
            you(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 9")),
            you("README.md", at_end("Ours.")),
            you_write("src/{package}/mine.py", "OURS = 1\n"),
            you_rename_package("acme_orders"),
        ),
        answers=({"package_name": "acme_orders"},),
        then={
            "src/acme_orders/mine.py": Yours("OURS = 1"),
            "src/acme_orders/common/retries.py": Conflict(
                yours="ATTEMPTS = 9", theirs="ATTEMPTS = 4"
            ),
            "README.md": Yours("Ours."),
        },
        by_script={
            "src/acme_orders/common/retries.py": Lines("ATTEMPTS = 9", without=(ATTEMPTS,)),
        },
    ),
    Row(
        "renamed the project, keeping the package",
        data={"project_name": "orders", "package_name": "orders_etl"},
        answers=({"project_name": "acme-orders"},),
        then={PYPROJECT: Theirs('name = "acme-orders"', without=('name = "orders"',))},
    ),
    # -- Where projects stand, and what lies in them -------------------------------------------
    Row(
        "a folder of a monorepo, with a dependency of the user's own",
        monorepo=True,
        you=(uv_add("aiosql>=1"),),
        new=(template_dependency(adds_dependency("tenacity>=9")),),
        then={PYPROJECT: Merged('  "aiosql>=1",', '  "tenacity>=9", # new')},
    ),
    Row(
        "a folder of a monorepo, with a conflict",
        monorepo=True,
        you=(you(ERRORS, swap(DOCSTRING, MY_DOCSTRING)),),
        new=(template(ERRORS, swap(DOCSTRING, NEW_DOCSTRING)),),
        then={ERRORS: Conflict(yours=MY_DOCSTRING, theirs=NEW_DOCSTRING)},
    ),
    Row(
        "a folder of a monorepo, with deleted and rewritten seeds",
        monorepo=True,
        you=(you_delete("LICENSE"), you("README.md", text_is("# Ours\n"))),
        new=(template("LICENSE", at_end("Theirs.")), template("README.md", at_end("Theirs."))),
        then={"LICENSE": Gone(), "README.md": Yours("# Ours")},
    ),
    Row(
        "files that git ignores: a secret and data",
        you=(
            you_write(".env", "TOKEN=ours\n"),
            you_write("data/warehouse.db", "ours\n"),
            you_write(".venv/pyvenv.cfg", "home = here\n"),
        ),
        new=(template(ERRORS, swap(DOCSTRING, NEW_DOCSTRING)),),
        then={".env": Yours("TOKEN=ours"), "data/warehouse.db": Yours("ours")},
    ),
    Row(
        "a lock file of the user's",
        you=(you_write("uv.lock", "version = 1\n"),),
        new=(template_dependency(adds_dependency("tenacity>=9")),),
        then={"uv.lock": Yours("version = 1")},
    ),
    Row(
        "a file not committed: refused, nothing changes",
        uncommitted=(you_write("notes.txt", "ours\n"),),
        new=(template_dependency(adds_dependency("tenacity>=9")),),
        refused="dirty",
    ),
    Row(
        "an edit not committed: refused, nothing changes",
        uncommitted=(you(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 9")),),
        new=(template(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 5")),),
        refused="dirty",
    ),
    Row(
        "saved a common module with the line ends of Windows",
        you=(you(RETRIES, windows_lines),),
        new=(template(RETRIES, swap(ATTEMPTS, "ATTEMPTS = 5")),),
        then={RETRIES: Theirs("ATTEMPTS = 5")},
        by_script={RETRIES: Merged("ATTEMPTS = 5")},
    ),
    Row(
        "saved pyproject.toml with the line ends of Windows, after uv add",
        you=(uv_add("aiosql>=1"), you(PYPROJECT, windows_lines)),
        new=(template_dependency(adds_dependency("tenacity>=9")),),
        then={PYPROJECT: Lines('  "aiosql>=1",', '  "tenacity>=9", # new', without=("\r",))},
        by_script={PYPROJECT: Merged('  "aiosql>=1",', '  "tenacity>=9", # new')},
    ),
    Row(
        "a checkout by a git that turns line ends into those of Windows",
        you=(
            you_run("git", "config", "core.autocrlf", "true"),
            you(ERRORS, at_end(CLASS)),
        ),
        new=(template(ERRORS, swap(DOCSTRING, NEW_DOCSTRING)),),
        then={ERRORS: Merged(NEW_DOCSTRING, without=("\r",))},
    ),
    Row(
        "a git that hides untracked files, shows diffs its own way and signs every commit",
        you=(
            you_run("git", "config", "diff.noprefix", "true"),
            you_run("git", "config", "diff.mnemonicPrefix", "true"),
            you_run("git", "config", "color.ui", "always"),
            you(ERRORS, at_end(CLASS)),
            uv_add("aiosql>=1"),
        ),
        new=(
            template(ERRORS, swap(DOCSTRING, NEW_DOCSTRING)),
            template_dependency(adds_dependency("tenacity>=9")),
        ),
        then={
            ERRORS: Merged(NEW_DOCSTRING),
            PYPROJECT: Merged('  "aiosql>=1",', '  "tenacity>=9", # new'),
        },
    ),
    # -- Growth of the template ----------------------------------------------------------------
    Row(
        "nothing; the template adds a file it owns",
        new=(template_adds("src/{package}/common/clock.py", "THEIRS = 1\n"),),
        then={"src/{package}/common/clock.py": Theirs("THEIRS = 1")},
    ),
    Row(
        "nothing; the template adds a question that writes nothing by default",
        new=(
            new_question("region:\n  type: str\n  default: ''\n"),
            template_adds("{{ region }}/region.txt.jinja", "{{ region }}\n"),
        ),
        then={"region.txt": Gone()},
    ),
    Row(
        "answered the new question at once",
        new=(
            new_question("region:\n  type: str\n  default: ''\n"),
            template_adds("{{ region }}/region.txt.jinja", "{{ region }}\n"),
        ),
        answers=({"region": "north"},),
        then={"north/region.txt": Theirs("north")},
    ),
    Row(
        "nothing; the template renames a file it owns",
        new=(template_moves(RETRIES, "again.py"),),
        then={RETRIES: Gone(), "src/{package}/common/again.py": Theirs(ATTEMPTS)},
    ),
    # -- What only a plugin has -----------------------------------------------------------------
    *(
        Row(
            f"edited a plugin's {path}; the template changes the same lines",
            kinds=PLUGIN,
            data=PARTS,
            you=(you(f"src/{{package}}/{path}", at_top("# ours")),),
            new=(template(f"src/{{package}}/{path}", at_top("# theirs")),),
            then={f"src/{{package}}/{path}": Yours("# ours", without=("# theirs",))},
        )
        for path in ("blocks/credentials.py", "hooks.py")
    ),
    Row(
        "deleted a plugin's worker; the template changes it",
        kinds=PLUGIN,
        data=PARTS,
        you=(you_delete("src/{package}/workers"),),
        new=(template("src/{package}/workers/jobs.py", at_end("# theirs")),),
        then={"src/{package}/workers/jobs.py": Gone()},
    ),
    Row(
        "an own entry point beside the plugin's; the template adds a dependency",
        kinds=PLUGIN,
        data=PARTS,
        you=(
            you(
                PYPROJECT, after('[project.entry-points."prefect.plugins"]', 'ours = "ours.hooks"')
            ),
        ),
        new=(template_dependency(adds_dependency("aiosql>=1")),),
        then={PYPROJECT: Merged('ours = "ours.hooks"', '  "aiosql>=1", # new')},
    ),
]

assert len(LIFE) >= 60
assert len({row.story for row in LIFE}) == len(LIFE), "two rows tell the same story"

# -- Reading the table ------------------------------------------------------------------------

_MARKED = re.compile(
    rb"(?ms)^<<<<<<< [^\n]*\n(?P<yours>.*?)"
    rb"^=======\n(?P<theirs>.*?)^>>>>>>> "
)


def _place(
    repository: TemplateRepository, row: Row, kind: str, folder: Path, ref: str
) -> tuple[Path, Path]:
    """Put the row's project somewhere.

    Returns:
        The project and the repository it stands in.
    """
    data = {"project_kind": kind, **row.data}
    if not row.monorepo:
        project = repository.project(data, folder / "project", ref)
        return project, project
    project = folder / "mono" / "services" / "one"
    shutil.copytree(repository.render(data, ref), project, ignore=shutil.ignore_patterns(".git"))
    git(folder / "mono", "init", "--quiet")
    (folder / "mono" / "other.txt").write_text("Other people's.\n", encoding="utf-8")
    updating.commit_all(folder / "mono")
    # Work in progress elsewhere in the repository is no reason to refuse.
    (folder / "mono" / "other.txt").write_text("Other people's work.\n", encoding="utf-8")
    return project, folder / "mono"


def _check_lines(path: str, text: str, outcome: Lines) -> None:
    for line in outcome.lines:
        assert text.splitlines().count(line) == 1, f"{path} does not hold once: {line!r}\n{text}"
    for part in outcome.without:
        assert part not in text, f"{path} holds {part!r}\n{text}"


def _is_large(number: int, row: Row, turn: int, way: str) -> bool:
    """Leave to the large run what tells little more than its neighbours.

    The gate tells each story once, of one kind after the other, by the script. Plain Copier tells
    those that it ends otherwise, and each seventh.
    """
    first = turn == number % len(row.kinds or (1,)) and not row.large
    plain = way == "copier" and not (row.by_script or row.refused or number % 7 == 0)
    return plain or not first


@pytest.mark.parametrize(
    ("row", "kind", "way"),
    [
        pytest.param(
            row,
            kind,
            way,
            id=f"{kind} by {way}: {row.story}",
            marks=pytest.mark.large("updates") if _is_large(number, row, turn, way) else [],
        )
        for number, row in enumerate(LIFE)
        for turn, kind in enumerate(row.kinds or (KINDS[number % len(KINDS)],))
        for way in ("script", "copier")
    ],
)
def test_life(
    row: Row, kind: str, way: str, template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """One row of the table, for one kind, by `update.py` or by Copier's own update."""
    old = template_repository.variant(*row.base) if row.base else CURRENT
    new = template_repository.variant(*row.new, base=old) if row.new else old
    data = {"project_kind": kind, **row.data}
    project, repository = _place(template_repository, row, kind, tmp_path, old)
    package = updating.answers(project)["package_name"]
    first = updating.snapshot(project)
    generated = set(first)
    for edit in row.you:
        edit(project, package)
    updating.commit_all(project, "The user's work")
    for edit in row.uncommitted:
        edit(project, package)
    before = updating.snapshot(project)
    if row.refused:
        if way == "copier":
            with pytest.raises(copier.errors.UserMessageError, match=row.refused):
                updating.update(project, ref=new)
        else:
            assert row.refused in update_in_process.update(project, ref=new)["status"]
        assert updating.snapshot(project) == before
        return

    then = row.then | (row.by_script if way == "script" else {})
    then = {path.format(package=package): outcome for path, outcome in then.items()}
    conflicts = {path for path, outcome in then.items() if isinstance(outcome, Conflict)}
    refreshes = way == "script" and any(row.answers)
    if refreshes and (name := row.answers[0].get("package_name")):
        unedited = template_repository.project({"project_kind": kind}, tmp_path / "unedited", old)
        you_rename_package(name)(unedited, package)
        first = updating.snapshot(unedited)
    for step, answers in enumerate(row.answers):
        if step:
            updating.commit_all(project, "Updated")
        if step == 1:
            for edit in row.between:
                edit(project, package)
            updating.commit_all(project, "More of the user's work")
            before = updating.snapshot(project)
        if way == "copier":
            updating.update(project, answers, new)
        else:
            report = update_in_process.update(project, answers, new)
            # The lock of a row is none that uv can read.
            assert report["is_good"] or conflicts or "uv.lock" in before, report
        data |= answers
        fresh = updating.snapshot(template_repository.render(data, new))
        generated |= set(fresh)
    after_ = updating.snapshot(project)
    assert updating.unmerged(project) == conflicts
    assert not [path for path in after_ if path.endswith((".rej", ".orig"))]
    assert updating.empty_folders(project) == []
    if row.monorepo:
        assert (repository / "other.txt").read_text(encoding="utf-8") == "Other people's work.\n"
        assert not any(
            line[3:].startswith("..") for line in git(project, "status", "--porcelain").splitlines()
        )

    edited: updating.Snapshot = {}
    if any(type(outcome) is Merged for outcome in then.values()):
        copy = template_repository.project(data, tmp_path / "fresh", new)
        for edit in (*row.you, *row.between):
            edit(copy, package)
        edited = updating.snapshot(copy)

    for path in sorted(set(after_) | set(before) | set(fresh) | set(then)):
        outcome = then.get(path)
        got = after_.get(path)
        if outcome is None:
            owned = not updating.is_seed(path) and path in generated
            owned = owned or (refreshes and before.get(path) == first.get(path))
            expected = fresh.get(path) if owned else before.get(path)
            assert got == expected, f"{path}: nothing in the row explains this"
        elif isinstance(outcome, Conflict):
            assert got is not None, f"{path} is gone"
            found = _MARKED.search(got[1])
            assert found, f"{path} has no conflict:\n{got[1].decode()}"
            assert outcome.yours in found["yours"].decode()
            assert outcome.theirs in found["theirs"].decode()
        elif isinstance(outcome, Gone):
            assert got is None, f"{path} is there"
        else:
            assert got is not None, f"{path} is gone"
            expected = {Merged: edited, Yours: before, Theirs: fresh}.get(type(outcome))
            if expected is not None:
                assert got == expected.get(path), f"{path} differs:\n{got[1].decode()}"
            _check_lines(path, got[1].decode(), outcome)
