"""Delivery of a pipeline from a merge to production and back, as the forge runs it.

The workflows' commands run with evaluated expressions, in clones of a local repository, with a real
Prefect server and a real worker. `docker` and `gh` are stand-ins that record their arguments; in
the large run, `docker` is a real engine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import string
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import child_processes
import container_engine as engines
import projects
import pytest
import yaml
from environments import require_python
from hooks.conftest import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from environments import Environments
    from projects import Render

NAME = "my-data-project"
REPOSITORY = "Acme/My-Data"
IMAGE = "ghcr.io/acme/my-data"
SECRET = "hunter2:not-in-a-log"
MARK = f"<!-- plan of {NAME} -->"

DOCKER = """#!{python} -IS
# A registry with the images that were pushed, in the file that $IMAGES names.
import json, os, pathlib, sys

file = pathlib.Path(os.environ["IMAGES"])
state = json.loads(file.read_text())
match sys.argv[1:]:
    case ["login", "ghcr.io" | "registry.example", "--username", "somebody", "--password-stdin"]:
        state["token"] = sys.stdin.read().strip()
    case ["manifest", "inspect", image] if state["token"]:
        if image not in state["pushed"]:
            sys.exit("manifest unknown")
    case ["build", "--tag", image, "--tag", named, "--build-arg", version, "."]:
        assert pathlib.Path("Dockerfile").is_file()
        state["built"].append([image, named, version])
    case ["push", image] if state["token"] and image in state["built"][-1][:2]:
        state["pushed"].append(image)
    case other:
        sys.exit(f"docker {{other}}")
file.write_text(json.dumps(state))
"""

REAL_DOCKER = """#!/bin/sh
# An engine without a registry: what is built is there.
case $1 in
  login) cat > /dev/null ;;
  manifest) exec {docker} image inspect "$3" ;;
  push) exec {docker} image inspect "$2" ;;
  *) exec {docker} "$@" ;;
esac
"""

GH = """#!{python} -IS
# The comments of one pull request, in the file that $COMMENTS names; and what is set and started.
import json, os, pathlib, sys

file = pathlib.Path(os.environ["COMMENTS"])
comments = json.loads(file.read_text())
place = "repos/" + os.environ.get("GITHUB_REPOSITORY", "") + "/issues/7/comments"
match sys.argv[1:]:
    case ["api", *_] if os.environ["GH_TOKEN"] != "its-own":
        sys.exit("HTTP 401")
    case ["api", "--paginate", url, "--jq", query] if url == place:
        start = query.partition('startswith("')[2].partition('")')[0]
        assert query == f'.[] | select(.body | startswith("{{start}}")) | .url'
        for number, body in enumerate(comments):
            if body.startswith(start):
                print(f"https://api.github.com/comments/{{number}}")
    case ["api", "--silent", "--method", "PATCH", url, "--field", body]:
        at = int(url.rpartition("/")[2])
        comments[at] = pathlib.Path(body.removeprefix("body=@")).read_text()
    case ["api", "--silent", url, "--field", body] if url == place:
        comments.append(pathlib.Path(body.removeprefix("body=@")).read_text())
    case ["variable" | "secret" | "workflow", *_] as words:
        with pathlib.Path(os.environ["COMMENTS"]).with_name("told.jsonl").open("a") as told:
            print(json.dumps(words), file=told)
    case other:
        sys.exit(f"gh {{other}}")
file.write_text(json.dumps(comments))
"""


def evaluate(expression: str, found: dict[str, Any]) -> Any:
    """Evaluate an expression of GitHub, with values for its names."""
    parts = re.split(r"('[^']*')", expression)
    for at in range(0, len(parts), 2):
        text = parts[at].replace("&&", " and ").replace("||", " or ")
        text = re.sub(r"!(?!=)", " not ", text).replace("needs.*.result", "results")
        parts[at] = re.sub(r"\b[a-z_]+(\.\w+)+", lambda name: f"get({name[0]!r})", text)

    def get(name: str) -> Any:
        value: Any = found
        for word in name.split("."):
            value = value.get(word, "") if isinstance(value, dict) else ""
        return value

    status = {"failure": lambda: "failure" in found["results"], "cancelled": lambda: False}
    names = {"format": str.format, "contains": lambda many, one: one in many, **status}
    names |= {"get": get, "results": found.get("results", ())}
    return eval("".join(parts).strip(), names)


def applies(rule: str, variables: dict[str, str]) -> bool:
    """Return whether a GitLab rule lets a job run."""
    text = rule.replace("&&", " and ").replace("||", " or ")
    text = re.sub(r"\$(\w+)", lambda name: repr(variables.get(name[1], "")), text)
    return bool(eval(text))


def fill_in(text: Any, found: dict[str, Any]) -> str:
    """Evaluate the expressions in a text."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda part: str(evaluate(part[1], found)), str(text))


@dataclass
class Forge:
    """A GitHub repository with its settings and runners."""

    top: Path
    name: str
    environments: Environments
    api: str
    variables: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    printed: str = ""

    @property
    def project(self) -> Path:
        """A developer's clone."""
        return self.top / "user"

    def git(self, *words: str) -> str:
        """Run git in the developer's clone."""
        return projects.run("git", *words, cwd=self.project).strip()

    def merge(self, tag: str = "") -> str:
        """Commit and push all changes; return the commit."""
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", f"Make {tag}")
        if tag:
            self.git("tag", tag)
        self.git("push", "-q", "--tags", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def follow(self, name: str, **env: str) -> list[list[str]]:
        """Run commands of docs/operate.md in the developer's clone; return the calls of `gh`."""
        told = self.top / "told.jsonl"
        told.write_text("")
        self.printed = ""
        self.do_script(
            command("operate.md", name), self.project, {"PREFECT_API_URL": self.api, **env}
        )
        return [json.loads(line) for line in told.read_text().splitlines()]

    def state(self, name: str) -> Any:
        """Return the records of a stand-in."""
        return json.loads((self.top / name).read_text())

    def run(self, workflow: str, event: str, sha: str, **given: Any) -> dict[str, str]:
        """Run a workflow of the main branch.

        Args:
            workflow: Its name.
            event: The event that starts it.
            sha: The commit of the event.
            **given: `inputs`, or `details` of a pull request.

        Returns:
            The result of each job.
        """
        file = self.git("show", f"origin/main:.github/workflows/{workflow}.yml")
        document = yaml.safe_load(file)
        assert event in document[True]
        github = {
            "workflow": document["name"],
            "event_name": event,
            "ref": "refs/pull/7/merge" if event == "pull_request" else "refs/heads/main",
            "sha": sha,
            "repository": REPOSITORY,
            "token": "its-own",
            "event": given.get("details", {}),
        }
        found: dict[str, Any] = {
            "github": github,
            "vars": self.variables,
            "secrets": {"PREFECT_API_AUTH_STRING": SECRET},
            "inputs": given.get("inputs", {}),
        }
        results: dict[str, str] = {}
        outputs: dict[str, Any] = {}
        self.printed = ""
        for name, job in document["jobs"].items():
            needs = job.get("needs", [])
            needs = [needs] if isinstance(needs, str) else needs
            found["results"] = [results[need] for need in needs]
            found["needs"] = {need: {"outputs": outputs.get(need, {})} for need in needs}
            condition = job.get("if", "True")
            wanted = "failure()" in condition or {*found["results"]} <= {"success"}
            if not wanted or not evaluate(condition, found):
                results[name] = "skipped"
            elif name == "tests":  # other tests run a project's tests
                results[name] = "success"
            else:
                results[name] = self.do(job, found)
                outputs[name] = {k: fill_in(v, found) for k, v in job.get("outputs", {}).items()}
        assert SECRET not in self.printed
        return results

    def do(self, job: dict[str, Any], found: dict[str, Any]) -> str:
        """Run the steps of a job."""
        work, output = self.top / "runner", self.top / "output"
        github, found["steps"] = found["github"], {}
        for step in job["steps"]:
            if not evaluate(step.get("if", "True"), found):
                continue
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["fetch-depth"] == 0
                ref = fill_in(step["with"].get("ref") or github["sha"], found)
                self.check_out(ref)
            if "run" not in step:
                continue
            output.write_text("")
            env = {
                "GITHUB_ACTOR": "somebody",
                "GITHUB_EVENT_NAME": github["event_name"],
                "GITHUB_OUTPUT": str(output),
                "GITHUB_REPOSITORY": REPOSITORY,
                "GITHUB_SHA": github["sha"],
                **{name: fill_in(text, found) for name, text in step.get("env", {}).items()},
            }
            if not self.do_script(step["run"], work, env):
                return "failure"
            found["steps"][step.get("id", "")] = {"outputs": read_outputs(output.read_text())}
        return "success"

    def check_out(self, ref: str) -> Path:
        """Check out a commit on a self-hosted runner, which keeps unchanged files."""
        work = self.top / "runner"
        if not work.exists():
            projects.run("git", "clone", "-q", self.top / "origin.git", work, cwd=self.top)
        for words in (("fetch", "-q", "--tags"), ("checkout", "-q", "--detach", ref)):
            projects.run("git", *words, cwd=work)
        # All but the environment, which gets this commit's project.
        projects.run("git", "clean", "-ffdxq", "--exclude", "/.venv/", cwd=work)
        if (work / ".venv").exists():
            words = ("uv", "sync", "-q", "--reinstall-package", self.name)
            projects.run(*words, cwd=work, UV_PYTHON=require_python("3.11"))
        else:
            self.environments.sync(work)
        return work

    def do_script(self, script: str, work: Path, env: dict[str, str], *options: str) -> bool:
        """Run commands in the shell; return whether they succeed."""
        env = {
            **self.env,
            "PATH": f"{self.top / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(self.top / "home"),
            "UV_PYTHON": "3.11",
            **env,
        }
        done = projects.complete(
            ("bash", "-e", *options, "-c", script),
            cwd=work,
            env=projects.clean_environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed += done.stdout
        return done.returncode == 0

    def pipeline(self, file: Path, source: str, sha: str, *jobs: str, **given: str) -> list[str]:
        """Run jobs of a GitLab pipeline.

        Args:
            file: Path of the pipeline.
            source: The event that starts it.
            sha: The commit.
            *jobs: The jobs to run, including manual ones.
            **given: More variables.

        Returns:
            The jobs that succeeded.
        """
        document = yaml.safe_load(file.read_text())
        known = {
            **self.variables,
            "CI_COMMIT_BRANCH": "main" if source == "push" else "",
            "CI_COMMIT_SHA": sha,
            "CI_COMMIT_SHORT_SHA": sha[:8],
            "CI_DEFAULT_BRANCH": "main",
            "CI_PIPELINE_SOURCE": source,
            "CI_REGISTRY": "registry.example",
            "CI_REGISTRY_IMAGE": "registry.example/acme/my-data",
            "CI_REGISTRY_PASSWORD": "its-own",
            "CI_REGISTRY_USER": "somebody",
            "PREFECT_API_AUTH_STRING": SECRET,
            **given,
        }
        ended: list[str] = []
        self.printed = ""
        for name in jobs:
            job = document[name]
            base = document.get(job.get("extends", ""), {})
            if not any(applies(rule["if"], known) for rule in [*job["rules"]]):
                continue
            environment = job.get("environment", "")
            if isinstance(environment, dict):
                assert environment["action"] == "verify"
                environment = environment["name"]
            variables = {**base.get("variables", {}), **job.get("variables", {})}
            variables.pop("UV_CACHE_DIR", None)  # use the existing cache
            filled = {k: string.Template(str(v)).substitute(known) for k, v in variables.items()}
            work = self.check_out(sha)
            if "build" in job.get("dependencies", ()):
                projects.run("uv", "build", "-q", "--out-dir", "dist", cwd=work)
            script = "\n".join({**base, **job}["script"])
            env = {**known, **filled, "CI_ENVIRONMENT_NAME": environment}
            if self.do_script(script, work, env, "-o", "pipefail"):
                ended.append(name)
        assert SECRET not in self.printed
        return ended

    def ask(self, path: str, **body: object) -> Any:
        """Send a request to Prefect's server."""
        request = urllib.request.Request(
            f"{self.api}/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=180) as response:
            return json.load(response)

    def deployed(self, environment: str) -> dict[str, Any]:
        """Return the deployments of an environment by the name of their flow."""
        wanted = {"deployments": {"tags": {"all_": [f"{self.name}-{environment}"]}}}
        flows = {flow["id"]: flow["name"] for flow in self.ask("flows/filter")}
        found = self.ask("deployments/filter", **wanted)
        return {flows[one["flow_id"]] + one["name"].partition(environment)[2]: one for one in found}

    def versions(self, environment: str) -> set[str]:
        """Return the versions of an environment's deployments."""
        return {one["version"] for one in self.deployed(environment).values()}


def read_outputs(text: str) -> dict[str, str]:
    """Read the outputs of a step."""
    pattern = r"^(\w+)(?:=([^\n]*)|<<(\w+)\n(.*?)\n\3)$"
    found = re.finditer(pattern, text, re.MULTILINE | re.DOTALL)
    return {one[1]: one[4] if one[3] else one[2] for one in found}


@pytest.fixture(scope="module")
def make(
    render: Render,
    environments: Environments,
    prefect_api: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Create a repository at GitHub with a project and its first version, v1.0.0."""

    def made(name: str, **answers: object) -> Forge:
        top = tmp_path_factory.mktemp("forge")
        forge = Forge(top, name, environments, prefect_api)
        shutil.copytree(render(project_name=name, **answers), forge.project)
        environments.sync(forge.project)
        projects.run("git", "init", "-q", "--bare", "-b", "main", top / "origin.git", cwd=top)
        forge.git("init", "-q", "-b", "main")
        forge.git("remote", "add", "origin", str(top / "origin.git"))
        forge.merge("v1.0.0")
        (top / "bin").mkdir()
        for name, text in (("docker", DOCKER), ("gh", GH)):
            (top / "bin" / name).write_text(text.format(python=sys.executable))
            (top / "bin" / name).chmod(0o755)
        forge.env |= {"IMAGES": str(top / "images.json"), "COMMENTS": str(top / "comments.json")}
        (top / "images.json").write_text(json.dumps({"token": "", "built": [], "pushed": []}))
        (top / "comments.json").write_text('["Looks good."]')
        return forge

    return made


def pull_request(
    sha: str = "", repository: str = REPOSITORY, user: str = "somebody"
) -> dict[str, Any]:
    """Return GitHub's data for a pull request."""
    head = {"sha": sha, "repo": {"full_name": repository}}
    return {"pull_request": {"number": 7, "head": head, "user": {"login": user}}}


def version_of(tag: str, forge: Forge) -> str:
    """Return the version of a tag's deployments."""
    commit = forge.git("rev-parse", f"{tag}^{{commit}}")
    return f"{tag.removeprefix('v')}+g{commit[:8]}"


def edit(forge: Forge, **changes: Any) -> None:
    """Replace texts in prefect.yaml."""
    file = forge.project / "prefect.yaml"
    text = file.read_text()
    for old, new in changes["texts"]:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


@pytest.fixture(scope="module")
def process(make: Any) -> Iterator[Forge]:
    """A pipeline whose runs are processes, with a worker for staging."""
    forge = make(NAME)
    worker = forge.top / "worker"
    environment = {"UV_PROJECT_ENVIRONMENT": str(worker / ".venv"), "UV_PYTHON": "3.11"}
    words = ("uv", "sync", "-q", "--no-dev", "--no-editable")
    projects.run(*words, cwd=forge.project, **environment)
    build = (
        "import sys; from pathlib import Path; from my_data_project import demo_source;"
        "demo_source.build_source(Path('tests/data'), Path(sys.argv[1]));"
        "from prefect.blocks.system import Secret;"
        "name = 'my-data-project-staging-';"
        "Secret(value=f'sqlite:///{sys.argv[1]}').save(name + 'source-url', overwrite=True);"
        "Secret(value=f'duckdb:///{sys.argv[2]}').save(name + 'warehouse-url', overwrite=True)"
    )
    code = ("python", "-c", build, worker / "source.db", worker / "warehouse.duckdb")
    home = {"PREFECT_API_URL": forge.api, "PREFECT_HOME": str(worker / "home")}
    projects.run("uv", "run", "--no-sync", *code, cwd=forge.project, **home)
    start = [worker / ".venv/bin/prefect", "worker", "start", "--type", "process"]
    start += ["--pool", f"{NAME}-staging"]
    env = projects.clean_environment(**home, PREFECT_WORKER_QUERY_SECONDS="1")
    with (worker / "log").open("wb") as log:
        started = child_processes.start(
            start, cwd=worker, env=env, stdout=log, stderr=subprocess.STDOUT
        )
    yield forge
    child_processes.stop(started, 60)


def test_nothing_runs_where_no_server_is_named(process: Forge) -> None:
    sha = process.git("rev-parse", "HEAD")
    jobs = {"tests", "staging", "production"}
    assert process.run("deploy", "push", sha) == dict.fromkeys(jobs, "skipped")
    again = process.run("deploy", "workflow_dispatch", sha, inputs={"version": "v1.0.0"})
    assert again == dict.fromkeys(jobs, "skipped")
    found = process.run("plan", "pull_request", sha, details=pull_request())
    assert found == {"plan": "skipped", "comment": "skipped"}


def test_a_merge_goes_through_staging_to_production(process: Forge) -> None:
    addresses = dict.fromkeys(("STAGING_API_URL", "PRODUCTION_API_URL"), process.api)
    secrets = dict.fromkeys(("STAGING_AUTH_STRING", "PRODUCTION_AUTH_STRING"), SECRET)
    told = process.follow("delivery", **addresses, **secrets)
    process.variables |= {words[2]: words[4] for words in told if words[0] == "variable"}
    assert process.variables == addresses
    assert [words[2:] for words in told if words[0] == "secret"] == [
        ["PREFECT_API_AUTH_STRING", *environment, "--body", SECRET]
        for environment in ([], ["--env", "production"])
    ]
    process.variables["WORKER_ENVIRONMENT"] = str(process.top / "worker/.venv")
    sha = process.git("rev-parse", "HEAD")
    done = process.run("deploy", "push", sha)
    assert done == dict.fromkeys(("tests", "staging", "production"), "success"), process.printed
    version = version_of("v1.0.0", process)
    assert process.versions("staging") == process.versions("prod") == {version}
    # A worker has run it, and the run has the version.
    manual = process.deployed("staging")["ingest-all-manual"]
    (run,) = process.ask("flow_runs/filter", deployments={"id": {"any_": [manual["id"]]}})
    assert (run["state_type"], run["deployment_version"]) == ("COMPLETED", version)
    assert installed(process) == "1.0.0"
    assert "finished successfully" in process.printed


def installed(forge: Forge) -> str:
    """Return the version installed for the worker."""
    program = forge.top / "worker/.venv/bin" / NAME
    return projects.run(program, "--version", cwd=forge.top).strip()


def test_a_pull_request_shows_its_plan(process: Forge) -> None:
    edit(process, texts=[("    description: Rebuilds", "    description: Makes")])
    file = process.project / "prefect.yaml"
    text = file.read_text()
    own = text.index("  # No table needs an entry")
    file.write_text(text[:own])
    process.git("add", "--all")
    process.git("commit", "-q", "-m", "Propose")
    sha = process.git("rev-parse", "HEAD")
    process.git("push", "-q", "origin", "HEAD:proposal")
    for _ in range(2):
        found = process.run("plan", "pull_request", sha, details=pull_request(sha))
        assert found == {"plan": "success", "comment": "success"}, process.printed
    # One comment, which is updated.
    first, plan = process.state("comments.json")
    said = f"What the merge of {sha} would change:"
    assert (first, plan.startswith(f"{MARK}\n{said}\n````\n")) == ("Looks good.", True)
    assert plan.endswith("\n````\n")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in plan.splitlines()]
    assert ["deployment", f"transform/{NAME}-staging", "change", "description"] in rows
    assert ["deployment", f"ingest-flights/{NAME}-staging", "delete", "-"] in rows
    assert f"g{sha[:8]} replaces {version_of('v1.0.0', process)}" in plan
    assert {one["description"] for one in process.deployed("staging").values()} >= {
        "Rebuilds the derived tables."
    }

    # Runs without access to secrets get none; a mistake fails.
    others = {"repository": "else/where"}, {"user": "dependabot[bot]"}
    for details in (pull_request(sha, **other) for other in others):
        found = process.run("plan", "pull_request", sha, details=details)
        assert found == {"plan": "skipped", "comment": "skipped"}
    edit(process, texts=[("    tags: *tags", "    wrong: *tags")])
    process.git("commit", "-q", "-a", "-m", "Mistake")
    sha = process.git("rev-parse", "HEAD")
    process.git("push", "-q", "origin", "HEAD:proposal")
    found = process.run("plan", "pull_request", sha, details=pull_request())
    assert found == {"plan": "failure", "comment": "skipped"}
    assert "nothing uses 'wrong'" in process.printed
    process.git("reset", "-q", "--hard", "HEAD~1")


def test_older_ones_do_not_come_after_newer_ones(
    process: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With only one server, as in some teams."""
    monkeypatch.delitem(process.variables, "STAGING_API_URL")
    first = process.git("rev-parse", "v1.0.0")
    sha = process.merge("v1.1.0")
    done = process.run("deploy", "push", sha)
    assert done == {"tests": "success", "staging": "skipped", "production": "success"}
    assert process.versions("prod") == {version_of("v1.1.0", process)}
    # As planned, deployments that are not in the file are deleted.
    assert "ingest-flights" not in process.deployed("prod")
    assert installed(process) == "1.1.0"

    done = process.run("deploy", "push", first)
    assert done == {"tests": "success", "staging": "skipped", "production": "failure"}
    assert f"{sha[:8]} is deployed, and newer" in process.printed
    assert process.versions("prod") == {version_of("v1.1.0", process)}
    assert installed(process) == "1.1.0"

    # The same commit can be deployed again, even if a tag has changed its version.
    process.git("tag", "-a", "-m", "Later", "v1.1.1", sha)
    process.git("push", "-q", "--tags", "origin")
    done = process.run("deploy", "push", sha)
    assert done["production"] == "success", process.printed
    assert process.versions("prod") == {version_of("v1.1.1", process)}
    process.git("tag", "--delete", "v1.1.1")
    process.git("push", "-q", "--delete", "origin", "v1.1.1")


def test_one_dispatch_goes_back(process: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    head = process.git("rev-parse", "HEAD")
    (words,) = process.follow("back")
    *start, given = words
    assert start == ["workflow", "run", "deploy.yml", "-f"]
    inputs = dict([given.split("=")])
    done = process.run("deploy", "workflow_dispatch", head, inputs=inputs)
    assert done == {"tests": "skipped", "staging": "skipped", "production": "success"}
    assert process.versions("prod") == {version_of("v1.0.0", process)}
    found = process.deployed("prod")
    assert "ingest-flights" in found
    assert found["transform"]["description"] == "Rebuilds the derived tables."
    assert installed(process) == "1.0.0"
    # The next merge continues from there.
    monkeypatch.delitem(process.variables, "STAGING_API_URL")
    done = process.run("deploy", "push", process.merge("v1.2.0"))
    assert done["production"] == "success", process.printed
    assert process.versions("prod") == {version_of("v1.2.0", process)}


def test_a_version_without_deploy_is_refused(process: Forge) -> None:
    """As in projects from before 0.7."""
    head = process.git("rev-parse", "HEAD")
    process.git("switch", "-q", "--detach", "v1.0.0")
    process.git("rm", "-q", "src/my_data_project/commands/deploy.py")
    process.git("commit", "-q", "-m", "Older")
    process.git("tag", "v0.9.0")
    process.git("push", "-q", "--tags", "origin")
    process.git("switch", "-q", "main")
    done = process.run("deploy", "workflow_dispatch", head, inputs={"version": "v0.9.0"})
    assert done["production"] == "failure"
    assert process.printed.startswith("::error::This version has no command deploy: roll back to")
    assert process.printed.count("\n") == 1
    assert process.versions("prod") == {version_of("v1.2.0", process)}


def test_the_version_is_that_of_the_commit(
    process: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a new installation, and as in the image."""
    code = "from my_data_project.common import runs; print(runs.version())"

    def version() -> str:
        return projects.tool(process.project, "python", "-c", code).strip()

    base, wanted = process.git("rev-parse", "v1.2.0"), version_of("v1.2.0", process)
    assert version() == wanted
    # Also in a hook of another repository, for which git sets these variables.
    projects.run("git", "init", "-q", str(tmp_path / "other"), cwd=tmp_path)
    words = ("commit", "-q", "--allow-empty", "-m", "Another")
    projects.run("git", *words, cwd=tmp_path / "other")
    for name, place in (("GIT_DIR", "other/.git"), ("GIT_WORK_TREE", "other")):
        monkeypatch.setenv(name, str(tmp_path / place))
    assert version() == wanted
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name)
    for number in (1, 2):
        process.git("commit", "-q", "--allow-empty", "-m", "Go on")
        commit = process.git("rev-parse", "HEAD")[:8]
        assert version() == f"1.2.1.dev{number}+g{commit}"
    words = ("uv", "run", "-q", "--reinstall-package", NAME, NAME, "--version")
    printed = projects.run(*words, cwd=process.project)
    assert printed.partition("+")[0] == version().partition("+")[0]
    readme = process.project / "README.md"
    text = readme.read_text()
    readme.write_text(f"{text}\n")
    assert version() == f"1.2.1.dev2+g{commit}.dirty"
    readme.write_text(text)
    process.git("reset", "-q", "--hard", base)


def test_what_is_deployed_and_back_by_hand(process: Forge) -> None:
    process.git("fetch", "-q")
    process.follow("deployed")
    assert f"'version': '{version_of('v1.2.0', process)}'" in process.printed
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in process.printed.splitlines()
    ]
    assert {row[2] for row in rows if row} == {"unchanged"}
    process.follow("back-by-hand")
    assert process.versions("prod") == {version_of("v1.0.0", process)}
    assert process.git("branch", "--show-current") == "main"
    process.follow("deployed")
    assert f"replaces {version_of('v1.0.0', process)}" in process.printed


def test_a_run_that_fails_stops_before_production(process: Forge) -> None:
    source = process.top / "worker/source.db"
    source.rename(source.with_suffix(".away"))
    try:
        sha = process.merge("v1.3.0")
        done = process.run("deploy", "push", sha)
    finally:
        source.unlink(missing_ok=True)
        source.with_suffix(".away").rename(source)
    assert done == {"tests": "success", "staging": "failure", "production": "skipped"}
    assert process.versions("prod") == {version_of("v1.0.0", process)}


def test_without_a_table_nothing_has_to_run(process: Forge) -> None:
    """So a project with `example=false` is green at once."""
    file = process.project / "src/my_data_project/flows/tables.py"
    text = file.read_text()
    file.write_text(f"{text}\nTABLES = ()\n")
    manual = process.deployed("staging")["ingest-all-manual"]
    which = {"deployments": {"id": {"any_": [manual["id"]]}}}
    before = process.ask("flow_runs/filter", **which)
    done = process.run("deploy", "push", process.merge("v1.3.1"))
    assert done["staging"] == "success", process.printed
    assert "Nothing to run on staging: flows/tables.py lists no table yet." in process.printed
    assert len(process.ask("flow_runs/filter", **which)) == len(before)
    process.git("revert", "--no-edit", "HEAD")


def test_a_job_that_was_cancelled_keeps_production_as_it_is(render: Render) -> None:
    file = render(project_name=NAME) / ".github/workflows/deploy.yml"
    condition = yaml.safe_load(file.read_text())["jobs"]["production"]["if"]
    ways = {
        ("success", "success"): True,
        ("success", "skipped"): True,
        ("skipped", "skipped"): True,
        ("success", "cancelled"): False,
        ("cancelled", "skipped"): False,
        ("failure", "skipped"): False,
    }
    github = {"ref": "refs/heads/main"}
    found = {"github": github, "vars": {"PRODUCTION_API_URL": "http://127.0.0.1:9/api"}}
    assert {way: evaluate(condition, {**found, "results": [*way]}) for way in ways} == ways


def test_projects_of_one_repository_have_environments_of_their_own(render: Render) -> None:
    """Otherwise they would share approval, secrets and queue."""
    seen: list[str] = []
    for name in ("sales", "shop"):
        project = render(project_name=name, folder=f"services/{name}")
        jobs = yaml.safe_load((project / ".github/workflows/deploy.yml").read_text())["jobs"]
        delivered = [jobs[job] for job in ("staging", "production")]
        assert [job["environment"] for job in delivered] == [
            f"{name}-staging",
            f"{name}-production",
        ]
        seen += [job["concurrency"] for job in delivered]
        title = yaml.safe_load((project / ".github/workflows/deploy.yml").read_text())["name"]
        assert name in title  # used for the queues
        settings = (project / "docs/operations.md").read_text()
        assert f"environment `{name}-production`" in settings
    assert {*seen} == {f"${{{{ github.workflow }}}}-{one}" for one in ("staging", "production")}


def test_gitlab(process: Forge, render: Render) -> None:
    file = render(project_name=NAME, ci="gitlab") / ".gitlab-ci.yml"
    names = ("STAGING_API_URL", "PRODUCTION_API_URL")
    addresses = {name: process.variables.pop(name) for name in names}
    jobs = ("plan", "staging", "production")
    sha = process.merge("v1.4.0")
    for source in ("push", "merge_request_event", "schedule"):
        assert process.pipeline(file, source, sha, *jobs) == []
    process.variables |= addresses
    assert process.pipeline(file, "schedule", sha, *jobs) == []
    assert process.pipeline(file, "merge_request_event", sha, *jobs) == ["plan"], process.printed
    shown = (process.top / "runner/plan.txt").read_text()
    assert f"The version {version_of('v1.4.0', process)} replaces" in shown

    assert process.pipeline(file, "push", sha, *jobs) == ["staging", "production"], process.printed
    version = version_of("v1.4.0", process)
    assert process.versions("staging") == process.versions("prod") == {version}
    assert installed(process) == "1.4.0"
    # GitLab's rollback runs the job of an older pipeline.
    older = process.git("rev-parse", "v1.2.0")
    assert process.pipeline(file, "push", older, "production") == ["production"], process.printed
    assert process.versions("prod") == {version_of("v1.2.0", process)}


def deliver_images(forge: Forge) -> list[str]:
    """Deliver two versions and roll back; return production's images."""
    forge.variables["PRODUCTION_API_URL"] = forge.api
    ways = [
        ("push", {}),
        ("push", {}),
        ("workflow_dispatch", {"version": "v1.0.0"}),
    ]
    images = []
    for number, (event, inputs) in enumerate(ways):
        if number == 1:
            forge.merge("v1.1.0")
        head = forge.git("rev-parse", "HEAD")
        done = forge.run("deploy", event, head, inputs=inputs)
        assert (done["staging"], done["production"]) == ("skipped", "success"), forge.printed
        (image,) = {one["job_variables"]["image"] for one in forge.deployed("prod").values()}
        (version,) = forge.versions("prod")
        assert image == f"{IMAGE}:{version.partition('+')[2]}"
        images.append(image)
    assert images[0] == images[2] != images[1]
    return images[:2]


@pytest.mark.parametrize(
    "type_", ["docker", pytest.param("kubernetes", marks=pytest.mark.large("containers"))]
)
def test_each_version_has_an_image(type_: str, make: Any) -> None:
    forge = make(f"its-{type_}", work_pool_type=type_, package_name="loads")
    images = deliver_images(forge)
    state = forge.state("images.json")
    # Each image is built once; a rollback uses the existing one.
    versions = [version_of(tag, forge) for tag in ("v1.0.0", "v1.1.0")]
    named = [f"{IMAGE}:{version.replace('+', '-')}" for version in versions]
    assert state == {
        "token": "its-own",
        "built": [
            [image, name, f"VERSION={version}"]
            for image, name, version in zip(images, named, versions, strict=True)
        ],
        "pushed": [named[0], images[0], named[1], images[1]],
    }

    # The deployed image does not count as a difference in a plan.
    file = "environments/staging.env"
    words = ("uv", "run", "-q", "--reinstall-package", forge.name, "--env-file", file, forge.name)
    projects.run(
        *words, "deploy", cwd=forge.project, PREFECT_API_URL=forge.api, LOADS_IMAGE=images[1]
    )
    forge.variables["STAGING_API_URL"] = forge.api
    edit(forge, texts=[("    description: Rebuilds", "    description: Makes")])
    sha = forge.merge()
    found = forge.run("plan", "pull_request", sha, details=pull_request())
    assert found == {"plan": "success", "comment": "success"}, forge.printed
    plan = forge.state("comments.json")[1]
    assert (plan.count(" change "), "job_variables" in plan) == (1, False)
    assert f"replaces {versions[1]}" in plan

    # An older project, whose prefect.yaml names one image for all versions.
    edit(forge, texts=[("{{ $LOADS_IMAGE }}", "loads:latest")])
    done = forge.run("deploy", "push", forge.merge())
    assert done == {
        "tests": "success",
        "image": "failure",
        "staging": "skipped",
        "production": "skipped",
    }
    assert "prefect.yaml does not take its image from LOADS_IMAGE" in forge.printed


@pytest.mark.large("containers")
def test_gitlab_s_images(make: Any) -> None:
    forge = make("at-gitlab", work_pool_type="docker", package_name="loads", ci="gitlab")
    file = forge.project / ".gitlab-ci.yml"
    forge.variables["PRODUCTION_API_URL"] = forge.api
    jobs = ("container-image", "production")
    sha = forge.git("rev-parse", "HEAD")
    assert forge.pipeline(file, "push", sha, *jobs) == [*jobs], forge.printed
    image = f"registry.example/acme/my-data:g{sha[:8]}"
    named = image.replace(":", ":1.0.0-")
    built = [[image, named, f"VERSION={version_of('v1.0.0', forge)}"]]
    pushed = [named, image]
    assert forge.state("images.json") == {"token": "its-own", "built": built, "pushed": pushed}
    # A tag of the same commit changes its version, but not its image.
    forge.git("tag", "-a", "-m", "Later", "v1.0.1")
    forge.git("push", "-q", "--tags", "origin")
    assert forge.pipeline(file, "push", sha, "production") == ["production"], forge.printed
    assert forge.versions("prod") == {f"1.0.1+g{sha[:8]}"}
    assert forge.state("images.json")["pushed"] == pushed
    assert {d["job_variables"]["image"] for d in forge.deployed("prod").values()} == {image}


@pytest.mark.large("containers")
def test_images_are_built_for_real(make: Any, tmp_path: Path) -> None:
    docker = shutil.which("docker")
    with engines.start(tmp_path) as engine:
        forge = make("its-images", work_pool_type="docker", package_name="loads")
        forge.env |= engine.env
        (forge.top / "bin/docker").write_text(REAL_DOCKER.format(docker=docker))
        for image, tag in zip(deliver_images(forge), ("v1.0.0", "v1.1.0"), strict=True):
            printed = engine.docker("run", "--rm", image, forge.name, "--version")
            assert printed.strip() == version_of(tag, forge)
