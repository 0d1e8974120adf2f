"""Work pools that start containers: job variables, as their workers resolve them."""

from __future__ import annotations

import json

import kubernetes_validate
import projects
import pytest
from environments import Environments
from projects import Render

KUBERNETES = "1.33"

# A worker's job configuration of each deployment, with its own schema and the server's.
CONFIGURATIONS = """
import asyncio, json, os, re, uuid
import jsonschema, yaml
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.workers.base import BaseWorker

TYPE = "TYPE_OF_POOL"
worker = BaseWorker.get_worker_class_from_type(TYPE)


async def main():
    async with get_client() as client:
        metadata = await client.read_worker_metadata()
    served = metadata[f"prefect-{TYPE}"][TYPE]["default_base_job_configuration"]
    with open("prefect.yaml", encoding="utf-8") as file:
        text = re.sub(r"{{ .(\\w+) }}", lambda found: os.environ[found[1]], file.read())
    entries = yaml.safe_load(text)["deployments"]
    for template in (served, worker.get_default_base_job_template()):
        for entry in entries:
            variables = entry["work_pool"]["job_variables"]
            # A variable that the pool does not know is silently ignored.
            unknown = set(variables) - set(template["variables"]["properties"])
            assert not unknown, unknown
            jsonschema.validate(variables, template["variables"])
            made = await worker.job_configuration.from_template_and_values(template, variables)
            run = FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="some-run")
            made.prepare_for_flow_run(run)
            print(json.dumps(made.model_dump(mode="json")))


asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("type_", "name", "image"),
    [
        ("docker", "my-data-project", "my-data-project"),
        # Package indexes accept names that image registries refuse.
        ("kubernetes", "Sales..Region_2", "sales-region-2"),
    ],
)
def test_the_worker_takes_the_job_variables(
    type_: str, name: str, image: str, project: Render, environments: Environments, prefect_api: str
) -> None:
    folder = project(work_pool_type=type_, project_name=name, package_name="loads")
    environments.sync(folder)
    # The worker's environment has only the dependency group.
    words = ("uv", "run", "--group", "worker", "--env-file", "environments/prod.env")
    code = CONFIGURATIONS.replace("TYPE_OF_POOL", type_)
    printed = projects.run(*words, "python", "-c", code, cwd=folder, PREFECT_API_URL=prefect_api)
    made = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert made
    # `deploy` creates the pool like Prefect, and validates each entry by its template.
    own = {"LOADS_ENVIRONMENT": type_, "LOADS_WORK_POOL": f"own-{type_}"}
    deploy = (*words[:2], "--no-sync", *words[4:], name, "deploy", "--json")
    printed = projects.run(*deploy, cwd=folder, PREFECT_API_URL=prefect_api, **own)
    items = json.loads(printed)["items"]
    assert ("work pool", f"own-{type_}") == (items[0]["what"], items[0]["name"])
    assert {item["state"] for item in items} == {"create"}
    projects.run(*deploy, "--plan", cwd=folder, PREFECT_API_URL=prefect_api, **own)
    for job in made:
        if type_ == "docker":
            assert job["image"] == f"{image}:latest"
            # By default the worker pulls images tagged `latest`, so an image that was only built
            # locally would never run.
            assert job["image_pull_policy"] == "IfNotPresent"
            assert job["volumes"] == [f"{image}:/home/app/data"]
            continue
        manifest = job["job_manifest"]
        pod = manifest["spec"]["template"]["spec"]
        # Prefect's own template puts these two where Kubernetes ignores them.
        assert (pod.pop("parallelism"), pod.pop("completions")) == (1, 1)
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        (container,) = pod["containers"]
        assert container["image"] == f"{image}:latest"
        assert container["resources"]["requests"] == {"cpu": "250m", "memory": "512Mi"}
        env = {each["name"]: each["value"] for each in container["env"]}
        assert env["LOADS_WAREHOUSE_URL"].startswith("block:")
        assert manifest["spec"]["ttlSecondsAfterFinished"] == 86_400
