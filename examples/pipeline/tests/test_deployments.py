"""prefect.yaml: each deployment can be deployed in each environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dotenv
import pytest
import sqlalchemy as sa
import yaml
from prefect.flows import load_flow_from_entrypoint

ROOT = Path(__file__).parents[1]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = FILE["deployments"] or []
ENVIRONMENTS = {path.stem: dotenv.dotenv_values(path) for path in ROOT.glob("environments/*.env")}

# Prefect ignores unknown keys, so a typing error would go unnoticed.
KEYS = {
    *("name", "entrypoint", "description", "tags", "version", "parameters", "schedules"),
    *("paused", "concurrency_limit", "work_pool", "triggers", "enforce_parameter_schema"),
    *("build", "push", "pull"),
}


def test_every_key_is_known_to_prefect() -> None:
    assert [key for entry in DEPLOYMENTS for key in entry if key not in KEYS] == []


@pytest.mark.parametrize("entry", DEPLOYMENTS, ids=lambda entry: entry["entrypoint"])
def test_every_entrypoint_is_a_flow_that_takes_the_parameters(
    entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint(entry["entrypoint"])
    flow.validate_parameters(entry.get("parameters", {}))


def test_alerts_know_the_environment_of_every_deployment() -> None:
    """The automations for late and lost runs look for this tag; a file without it has none."""
    tag = (FILE.get("definitions") or {}).get("name")
    missing = [e["entrypoint"] for e in DEPLOYMENTS if tag and tag not in e.get("tags", [])]
    assert not missing, f"Give these `tags: *tags` in prefect.yaml: {missing}"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_sets_what_the_deployments_ask_for(name: str) -> None:
    """Prefect replaces an unset variable by an empty text and only warns."""
    asked = set(re.findall(r"\{\{ \$(\w+) \}\}", (ROOT / "prefect.yaml").read_text()))
    assert asked - ENVIRONMENTS[name].keys() == set()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_environment_holds_a_password(name: str) -> None:
    for variable, value in ENVIRONMENTS[name].items():
        if variable.endswith("_URL") and "://" in (value or ""):
            assert sa.make_url(str(value)).password is None, variable


@pytest.mark.parametrize("entry", DEPLOYMENTS, ids=lambda entry: entry["entrypoint"])
def test_no_path_of_a_machine_is_deployed(entry: dict[str, Any]) -> None:
    """Without a pull step, a worker imports the code from an installed package."""
    steps = entry.get("pull", FILE.get("pull", "missing"))
    assert steps != "missing", "Prefect would deploy the path of this folder: write `pull: []`."
    assert steps or ":" not in entry["entrypoint"], "Name a module, as in `package.module.flow`."
    texts = [entry["entrypoint"], *re.findall(r"'directory': '([^']*)'", str(steps))]
    assert not [text for text in texts if Path(text).is_absolute()]
