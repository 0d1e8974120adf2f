"""What pip resolved deploys and schedules. Runs inside a generated project."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dotenv
import yaml
from my_data_project.common import settings
from prefect import get_client
from prefect.settings import PREFECT_API_URL

ROOT = Path(settings.__file__).parents[3]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
ENV = dotenv.dotenv_values(ROOT / "environments" / "prod.env")


def test_prefect_deploys_and_schedules(prefect_server: str, tmp_path: Path) -> None:
    pool = str(ENV[f"{settings.ENV_PREFIX}WORK_POOL"])
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump({**FILE, "deployments": FILE["deployments"][:1]}))
    prefect("work-pool", "create", pool, "--type", "process", "--overwrite")
    prefect("deploy", "--all", "--prefect-file", str(file))
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"ingest-all/{settings.PROJECT}-prod")
        assert deployment.work_pool_name == pool
        assert deployment.job_variables["env"][f"{settings.ENV_PREFIX}ENVIRONMENT"] == "prod"
        deadline = time.monotonic() + 60
        while not any(run.deployment_id == deployment.id for run in client.read_flow_runs()):
            assert time.monotonic() < deadline, "the server scheduled no run"
            time.sleep(0.2)
        client.delete_deployment(deployment.id)


def prefect(*words: str) -> None:
    """Run a command of Prefect against the server of the tests."""
    env = {name: value or "" for name, value in ENV.items()}
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words],
        env={**os.environ, **env, "PREFECT_API_URL": str(PREFECT_API_URL.value())},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
