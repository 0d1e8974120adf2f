"""A project's weekly job that looks for a newer template, run as the forge runs it.

The forge is a local bare repository. `gh` is a stand-in that records its arguments, and a hook
records GitLab's push options.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import projects
import pytest
import yaml

from hooks.conftest import NEW, OLD, Done, Run, append, commit

NEWEST = "v999.2.0"
RULES = "src/my_data_project/common/rules.py"
LABEL = "template-conflict"

GH = """#!{python} -IS
# What GitHub does with pull requests and labels, in the file that $FORGE names.
import argparse, json, os, pathlib, subprocess, sys

file = pathlib.Path(os.environ["FORGE"])
state = json.loads(file.read_text())
parser = argparse.ArgumentParser()
for name in ("head", "state", "title", "body-file", "label"):
    parser.add_argument("--" + name)
parser.add_argument("--draft", action="store_true")
match sys.argv[1:]:
    case ["auth", "setup-git"]:
        pass
    case ["label", "create", name] if name not in state["labels"]:
        state["labels"].append(name)
    case ["pr", "list", *words]:
        wanted = parser.parse_args(words)
        for number, one in enumerate(state["requests"], 1):
            is_wanted = wanted.state == "all" or one["state"] == "OPEN"
            if is_wanted and wanted.head in (None, one["head"]):
                print(number, one["title"], one["head"], one["state"], sep="\\t")
    case ["pr", "create", *words]:
        made = parser.parse_args(words)
        pushed = ("git", "ls-remote", "--exit-code", "origin", "refs/heads/" + made.head)
        if subprocess.run(pushed, stdout=subprocess.DEVNULL).returncode:
            sys.exit("the branch is not there")
        if made.label not in (None, *state["labels"]):
            sys.exit("the label is not there")
        if made.draft and not state["drafts"]:
            sys.exit("Draft pull requests are not supported in this repository.")
        text = pathlib.Path(made.body_file).read_text()
        request = {{**vars(made), "text": text, "state": "OPEN", "by": os.environ["GH_TOKEN"]}}
        state["requests"].append(request)
    case other:
        sys.exit(f"gh {{other}}")
file.write_text(json.dumps(state))
"""

# GitHub's rule, and GitLab's push options.
PRE_RECEIVE = """#!/bin/sh
read -r _ new _
if [ "$GH_TOKEN" = its-own ] && git diff --name-only main "$new" | grep '^.github/workflows/'; then
  echo "refusing to allow a GitHub App to create or update workflow"
  exit 1
fi
env | sed -n 's/^GIT_PUSH_OPTION_[0-9]*=//p' > pushed.txt
"""


@dataclass
class Forge:
    """A repository at a forge, with its job."""

    top: Path
    project: Path
    run: Run
    file: Path
    folder: str = ""

    def state(self, **changed: Any) -> dict[str, Any]:
        """Change the forge's state, and return it."""
        state = {**json.loads(self.file.read_text()), **changed}
        self.file.write_text(json.dumps(state))
        return state

    def git(self, *words: str) -> str:
        """Run git in the bare repository."""
        return projects.run("git", *words, cwd=self.top / "origin.git")

    def checkout(self, name: str, branch: str = "main") -> Path:
        """Clone it again."""
        folder = self.top / name
        shutil.rmtree(folder, ignore_errors=True)
        words = ("git", "clone", "-q", "--branch", branch, self.top / "origin.git", folder)
        projects.run(*words, cwd=self.top)
        return folder

    def push(self) -> None:
        """Commit and push the user's changes."""
        commit(self.project, "Mine")
        projects.run("git", "push", "-q", "origin", "main", cwd=self.project)

    def file_at(self, branch: str, name: str) -> str:
        """Return a file's text."""
        return self.git("show", f"{branch}:{name}")

    def runs(self, token: str = "") -> Done:
        """Run the job's steps like GitHub."""
        work = self.checkout("runner") / self.folder
        job = yaml.safe_load((work / ".github/workflows/scheduled.yml").read_text())["jobs"]
        temporary, output = self.top / "temporary", self.top / "output"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        output.write_text("")
        env = {"RUNNER_TEMP": str(temporary), "GITHUB_OUTPUT": str(output), "GH_TOKEN": "none"}
        done = Done(0, "")
        for step in job["template"]["steps"]:
            if "run" not in step or ("if" in step and "changed=yes" not in output.read_text()):
                continue
            if "env" in step:
                assert step["env"]["MAY_PUSH_WORKFLOWS"] == (
                    "${{ secrets.TEMPLATE_UPDATE_TOKEN != '' }}"
                )
                env["GH_TOKEN"] = token or "its-own"
                env["MAY_PUSH_WORKFLOWS"] = str(bool(token)).lower()
            ran = self.run("bash", "-e", "-c", step["run"], cwd=work, FORGE=str(self.file), **env)
            done = Done(ran.code, done.printed + ran.printed)
            if ran.code:
                break
        return done

    def pipeline(self, token: str = "secret") -> Done:
        """Run the job's script like GitLab, on a commit without a branch."""
        work = self.checkout("runner") / self.folder
        projects.run("git", "checkout", "-q", "--detach", cwd=work)
        job = yaml.safe_load((work / ".gitlab-ci.yml").read_text())["template-update"]
        address = "https://project:secret@gitlab.example:443/group/project.git"
        env = {
            "CI_SERVER_HOST": "gitlab.example",
            "CI_SERVER_PORT": "443",
            "CI_PROJECT_PATH": "group/project",
            "CI_DEFAULT_BRANCH": "main",
            "TEMPLATE_UPDATE_TOKEN": token,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{self.top / 'origin.git'}.insteadOf",
            "GIT_CONFIG_VALUE_0": address,
        }
        script = "\n".join(job["script"])
        return self.run("bash", "-eo", "pipefail", "-c", script, cwd=work, **env)


@pytest.fixture(scope="module")
def newest(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with one more release, which changes a workflow."""
    folder = Path(shutil.copytree(source, tmp_path_factory.mktemp("newest") / source.name))
    append(folder / "template/{{ github }}/workflows/ci.yml.jinja", "# newest\n")
    commit(folder, "Three", NEWEST)
    return folder


@pytest.fixture
def forge(old: Path, run: Run, shims: Path, tmp_path: Path) -> Forge:
    """A project at GitHub."""
    return at_forge(old, run, tmp_path / "forge")


def at_forge(project: Path, run: Run, top: Path, folder: str = "") -> Forge:
    top.mkdir()
    origin = top / "origin.git"
    projects.run("git", "clone", "-q", "--bare", project, origin, cwd=top)
    projects.run("git", "config", "receive.advertisePushOptions", "true", cwd=origin)
    (origin / "hooks/pre-receive").write_text(PRE_RECEIVE)
    (top / "bin").mkdir()
    (top / "bin/gh").write_text(GH.format(python=sys.executable))
    for program in (origin / "hooks/pre-receive", top / "bin/gh"):
        program.chmod(0o755)
    (top / "state.json").write_text(json.dumps({"requests": [], "labels": [], "drafts": True}))

    def ran(*command: str | Path, cwd: Path, **env: str) -> Done:
        words = ("env", f"PATH={top / 'bin'}{os.pathsep}{path}", *command)
        return run(*words, cwd=cwd, **env)

    path = run("printenv", "PATH", cwd=top).printed.strip()
    forge = Forge(top, top / "user", ran, top / "state.json", folder)
    forge.checkout("user")
    return forge


def name_template(project: Path, old: Path, new: str | Path) -> None:
    """Record another source for a project."""
    answers = project / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(str(old), str(new)))


def test_an_update_is_proposed_once(forge: Forge, source: Path, newest: Path) -> None:
    # GitHub's settings forbid to open one: it is opened later.
    gh = forge.top / "bin/gh"
    working = gh.read_text()
    gh.write_text(working.replace('"create", *words', '"no"'))
    assert forge.runs().code == 1
    pushed = forge.git("rev-parse", f"template-{NEW}")
    gh.write_text(working)
    done = forge.runs()
    assert done.code == 0, done.printed
    assert forge.git("rev-parse", f"template-{NEW}") == pushed
    (request,) = forge.state()["requests"]
    assert request["title"] == f"Update the project template to {NEW}"
    assert request["head"] == f"template-{NEW}"
    assert request["text"].startswith(f"    updated, {OLD} -> {NEW}\n")
    names = ".copier-answers.yml", RULES
    assert (
        "      clean             {}\n                        {}".format(*names) in request["text"]
    )
    assert (request["draft"], request["label"], request["by"]) == (False, None, "its-own")
    assert "git diff" not in request["text"]
    assert str(forge.top) not in request["text"]
    assert forge.file_at(request["head"], RULES).endswith("# merged from the template\n")
    assert forge.git("rev-list", "--count", f"main..{request['head']}") == "1\n"

    # A user has closed it.
    forge.state(requests=[{**request, "state": "CLOSED"}])
    done = forge.runs()
    assert (done.code, "already" in done.printed) == (0, True)
    assert len(forge.state()["requests"]) == 1
    # A newer version names the request that it replaces.
    forge.state(requests=[request])
    name_template(forge.project, source, newest)
    forge.push()
    assert forge.runs("a-person's").code == 0
    assert forge.state()["requests"][1]["head"] == f"template-{NEWEST}"
    assert "\nIt replaces: #1\n" in forge.state()["requests"][1]["text"]

    # After it is merged.
    projects.run("git", "pull", "-q", "origin", f"template-{NEWEST}", cwd=forge.project)
    projects.run("git", "push", "-q", "origin", "main", cwd=forge.project)
    done = forge.runs()
    assert (done.code, "nothing to do" in done.printed) == (0, True)
    assert len(forge.state()["requests"]) == 2


@pytest.mark.parametrize("drafts", [True, False])
def test_conflicts_are_a_draft_with_a_label(drafts: bool, forge: Forge) -> None:
    append(forge.project / RULES, "# mine\n")
    forge.push()
    forge.state(drafts=drafts, labels=[] if drafts else [LABEL])
    assert forge.runs().code == 0
    (request,) = forge.state()["requests"]
    assert (request["draft"], request["label"]) == (drafts, LABEL)
    assert f"    conflicts, 1 files: {RULES}\n" in request["text"]
    assert f"      {RULES}: has conflict markers; edit it, then: git add {RULES}" in request["text"]
    assert "<<<<<<< before updating\n# mine\n" in forge.file_at(request["head"], RULES)


def test_workflows_are_pushed_by_a_person_s_token(forge: Forge, source: Path, newest: Path) -> None:
    name_template(forge.project, source, newest)
    workflow = forge.project / ".github/workflows/ci.yml"
    workflow.write_text(workflow.read_text().replace("name: CI", "name: My CI"))
    forge.push()
    branch = f"template-{NEWEST}"

    assert forge.runs().code == 0
    (request,) = forge.state()["requests"]
    assert "Left out, because" in request["text"]
    assert "may not push them: .github/workflows/ci.yml\n" in request["text"]
    assert "# newest" not in forge.file_at(branch, ".github/workflows/ci.yml")
    assert forge.file_at(branch, RULES).endswith("# merged from the template\n")

    # As the text says.
    told = "\n".join(re.findall(r"^    ((?:git|uv) .*)$", request["text"], re.MULTILINE))
    done = forge.run("bash", "-ec", told, cwd=forge.project, GH_TOKEN="a-person's")
    assert done.code == 0, done.printed
    by_hand = forge.git("rev-parse", f"{branch}^{{tree}}")
    assert "# newest" in forge.file_at(branch, ".github/workflows/ci.yml")

    # The same as with a token.
    forge.git("branch", "-D", branch)
    forge.state(requests=[])
    assert forge.runs("a-person's").code == 0
    (request,) = forge.state()["requests"]
    assert ("Left out" in request["text"], request["by"]) == (False, "a-person's")
    assert forge.git("rev-parse", f"{branch}^{{tree}}") == by_hand
    assert "name: My CI" in forge.file_at(branch, ".github/workflows/ci.yml")


def test_what_is_refused_fails_the_job(forge: Forge, source: Path) -> None:
    name_template(forge.project, source, forge.top / "nowhere")
    forge.push()
    done = forge.runs()
    said = "The template named as _src_path in .copier-answers.yml cannot be read."
    assert (done.code, said in done.printed) == (1, True)
    name_template(forge.project, forge.top / "nowhere", source)
    answers = forge.project / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(OLD, "v0.0.9"))
    forge.push()
    done = forge.runs()
    assert (done.code, "the template has no version 'v0.0.9'" in done.printed) == (1, True)
    assert forge.state()["requests"] == []
    assert forge.git("branch", "--list", "template-*") == ""


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("gh:some/template", "https://github.com/some/template"),
        ("gl:some/template", "https://gitlab.com/some/template"),
        ("'git+https://a.example/template.git'", "https://a.example/template.git"),
        ("git@a.example:some/template.git", "git@a.example:some/template.git"),
    ],
)
def test_copier_s_shortcuts(path: str, address: str, tmp_path: Path) -> None:
    script = (projects.ROOT / "includes/template_update.sh").read_text()
    (found,) = re.findall(r"^source=.*$", script, re.MULTILINE)
    (tmp_path / ".copier-answers.yml").write_text(
        f"# Written\n_commit: v1\n_src_path: {path}\na: ''"
    )
    words = ("bash", "-c", f'{found}; echo "$source"')
    assert projects.run(*words, cwd=tmp_path) == f"{address}\n"


@pytest.fixture
def sales(source: Path, uvx: Path, run: Run, tmp_path: Path) -> Forge:
    """A project in a folder of a repository at GitHub."""
    top = tmp_path / "company"
    words = ("copier", "copy", "-q", "--defaults", "-r", OLD, "-d", "project_name=sales")
    folder = ("-d", "folder=services/sales", source, top / "services/sales")
    projects.run(uvx, *words, *folder, cwd=tmp_path)
    projects.run("git", "init", "-qb", "main", cwd=top)
    commit(top, "Start")
    copy_workflows(top / "services/sales")
    commit(top, "Copy the workflows")
    return at_forge(top, run, tmp_path / "forge", "services/sales")


def copy_workflows(project: Path) -> None:
    """Copy the workflows like the check `workflows`."""
    (hook,) = [
        hook
        for hook in yaml.safe_load((project / ".pre-commit-config.yaml").read_text())["repos"][0][
            "hooks"
        ]
        if hook["id"] == "workflows"
    ]
    projects.run("bash", "-c", hook["entry"], cwd=project, check=False)


def test_a_project_in_a_folder(sales: Forge, source: Path, newest: Path) -> None:
    project = sales.project / sales.folder
    name_template(project, source, newest)
    sales.push()
    branch = f"sales-template-{NEWEST}"
    copy, file = ".github/workflows/sales-ci.yml", "services/sales/.github/workflows/ci.yml"
    done = sales.runs()
    assert done.code == 0, done.printed
    (request,) = sales.state()["requests"]
    assert request["title"] == f"Update the project template of sales to {NEWEST}"
    # In the folder, it is a normal file.
    assert f"may not push them: {copy}\n" in request["text"]
    assert "cd services/sales; uv run prek run workflows" in request["text"]
    assert sales.file_at(branch, file).endswith("# newest\n")
    assert "# newest" not in sales.file_at(branch, copy)

    sales.git("branch", "-D", branch)
    sales.state(requests=[])
    assert sales.runs("a-person's").code == 0
    assert sales.file_at(branch, copy) == sales.file_at(branch, file)
    # The check of the copies passes.
    clone = sales.checkout("clone", branch)
    copy_workflows(clone / sales.folder)
    assert projects.run("git", "status", "--porcelain", cwd=clone) == ""


def test_gitlab(source: Path, newest: Path, uvx: Path, run: Run, tmp_path: Path) -> None:
    project = tmp_path / "my-data-project"
    words = ("copier", "copy", "-q", "--defaults", "-r", OLD, "-d", "ci=gitlab", source, project)
    projects.run(uvx, *words, cwd=tmp_path)
    projects.run("git", "init", "-qb", "main", cwd=project)
    commit(project, "Start")
    forge = at_forge(project, run, tmp_path / "forge")

    done = forge.pipeline(token="")
    assert (done.code, f"updated, {OLD} -> {NEW}" in done.printed) == (1, True)
    assert "set TEMPLATE_UPDATE_TOKEN" in done.printed
    assert forge.git("branch") == "* main\n"

    done = forge.pipeline()
    assert done.code == 0, done.printed
    options = pushed(forge)
    description = options.pop("merge_request.description")
    assert description.startswith(rf"    updated, {OLD} -> {NEW}\n      clean  ")
    assert options == {
        "merge_request.create": "",
        "merge_request.target": "main",
        "merge_request.title": f"Update the project template to {NEW}",
    }
    assert forge.file_at(f"template-{NEW}", RULES).endswith("# merged from the template\n")
    done = forge.pipeline()
    assert (done.code, "is there already" in done.printed) == (0, True)

    append(forge.project / RULES, "# mine\n")
    name_template(forge.project, source, newest)
    forge.push()
    assert forge.pipeline().code == 0
    options = pushed(forge)
    assert (options["merge_request.draft"], options["merge_request.label"]) == ("", LABEL)
    assert rf"\n\nIt replaces:\nrefs/heads/template-{NEW}\n" in options["merge_request.description"]
    assert "<<<<<<< before updating" in forge.file_at(f"template-{NEWEST}", RULES)

    name_template(forge.project, newest, forge.top / "nowhere")
    forge.push()
    done = forge.pipeline()
    assert (done.code, "cannot be read" in done.printed) == (1, True)


def pushed(forge: Forge) -> dict[str, str]:
    """Return the options of the last push."""
    lines = (forge.top / "origin.git/pushed.txt").read_text().splitlines()
    return {name: text for name, _, text in (line.partition("=") for line in lines)}
