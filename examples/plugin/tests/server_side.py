"""What Prefect's server has stored about runs, for tests."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.logging.handlers import APILogHandler
from prefect.settings import get_current_settings


def artifact(key: str) -> Any:
    """Read the newest artifact with a key."""
    # Its type is that of an artifact to create, which has fewer attributes.
    found = cast("Any", Artifact.get(key))
    assert found is not None, f"there is no artifact {key}"
    return found


def artifacts_of(prefix: str) -> dict[str, list[Any]]:
    """Read all artifacts whose keys begin with a prefix, by key."""
    chosen = filters.ArtifactFilter.model_validate({"key": {"like_": f"{prefix}%"}})
    found: dict[str, list[Any]] = {}
    with get_client(sync_client=True) as client:
        for entry in client.read_artifacts(artifact_filter=chosen):
            found.setdefault(str(entry.key), []).append(entry)
    return found


def everything_kept(flow_run: str) -> list[str]:
    """Return everything stored about a flow run, and all results, as text."""
    APILogHandler().flush()
    ids = {"flow_run_id": {"any_": [flow_run]}}
    with get_client(sync_client=True) as client:
        kept = [client.read_flow_run(UUID(flow_run)).model_dump_json()]
        chosen = filters.FlowRunFilter.model_validate({"id": {"any_": [flow_run]}})
        tasks = client.read_task_runs(flow_run_filter=chosen)
        kept += [run.model_dump_json() for run in tasks]
        logs = client.read_logs(filters.LogFilter.model_validate(ids))
        kept += [record.message for record in logs]
        found = client.read_artifacts(artifact_filter=filters.ArtifactFilter.model_validate(ids))
        kept += [artifact.model_dump_json() for artifact in found]
    results = get_current_settings().results.local_storage_path
    kept += [path.read_text("utf-8", "replace") for path in results.rglob("*") if path.is_file()]
    return kept
