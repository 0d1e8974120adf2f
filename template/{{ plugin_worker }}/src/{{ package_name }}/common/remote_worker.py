"""A worker that runs flow runs as jobs of another system; the jobs continue without it."""

from __future__ import annotations

import abc
import contextlib
import copy
import datetime
import itertools
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
from prefect.client.schemas.objects import WorkerStatus
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound
from prefect.workers.base import BaseVariables, BaseWorker, BaseWorkerResult

from . import errors
from .remote_jobs import RemoteJobConfiguration, Watch

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

ACTIVE = ["PENDING", "RUNNING", "CANCELLING"]
"""Types of state in which a flow run has a job, or is about to get one."""

PATIENCE = datetime.timedelta(seconds=60)
"""How long a Pending run counts as on its way, and not as left behind by its worker."""

PAGE = 200
"""How many flow runs Prefect's API gives at once."""

KILL_SECONDS = 10
"""How long the system may take to kill a job."""


class JobResult(BaseWorkerResult):
    """How a job ended: system and id, and exit code."""


class RemoteJobWorker(
    BaseWorker[RemoteJobConfiguration, BaseVariables, JobResult],
    abc.ABC,  # Prefect registers subclasses only
):
    """Runs each flow run as a job of a system, and watches the job to its end.

    A worker that is stopped or killed leaves its jobs running. After a restart it finds its flow
    runs by their state in Prefect, and watches them again. If it stays offline, another worker
    of the pool takes them over.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._watched: set[UUID] = set()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: RemoteJobConfiguration,
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> JobResult:
        """Watch the job of a flow run to its end; submit it first if there is none.

        Returns:
            How the job ended.

        Raises:
            PermanentError: The system refuses the job.
        """
        logger = self.get_flow_run_logger(flow_run)
        system = configuration.system()
        pid, state = flow_run.infrastructure_pid, flow_run.state
        begun = state is not None and (state.is_running() or state.is_cancelling())
        if begun and pid and pid.rpartition("::")[0] != system.name:
            raise errors.PermanentError(
                f"The flow run has the job {pid}, but its job variables now name {system.name}:"
                " nobody watches that job."
            )
        self._watched.add(flow_run.id)
        try:
            async with system:
                watch = Watch(flow_run, configuration, system, self.client, logger)
                await watch.begin()
                if task_status is not None:
                    task_status.started(watch.identifier)
                await watch.follow()
            return await self._settle(watch)
        finally:
            self._watched.discard(flow_run.id)

    async def _settle(self, watch: Watch) -> JobResult:
        """Set a final state if the job ended without setting one."""
        flow_run, state, job = watch.flow_run, watch.flow_run.state, watch.job
        succeeded = JobResult(identifier=watch.identifier, status_code=0)
        if state is None or watch.is_superseded or state.is_scheduled() or state.is_paused():
            return succeeded  # the flow run continues in another job
        self.get_flow_run_logger(flow_run).info(watch.verdict)
        if state.is_cancelling():
            await self._mark_flow_run_as_cancelled(flow_run, {"message": watch.verdict})
        elif not state.is_final():
            ended = job is not None and job.state == "succeeded"
            hint = " The flow run has not ended: did the job's command run it?" if ended else ""
            await self._propose_crashed_state(flow_run, watch.verdict + hint)
        if job is None or job.state == "succeeded":
            return succeeded
        return JobResult(identifier=watch.identifier, status_code=job.exit_code or 1)

    async def sync_with_backend(self) -> None:
        """Send a heartbeat to Prefect, and take over flow runs without a watch."""
        await super().sync_with_backend()
        group = self._runs_task_group
        if group is None or self._work_pool is None:
            return
        for flow_run in await self._unwatched():
            self.get_flow_run_logger(flow_run).info(f"Worker {self.name!r} takes over.")
            self._watched.add(flow_run.id)
            if self._limiter is not None:
                with contextlib.suppress(anyio.WouldBlock, RuntimeError):
                    self._limiter.acquire_on_behalf_of_nowait(flow_run.id)
            group.start_soon(self._take_over, flow_run)

    async def _take_over(self, flow_run: FlowRun) -> None:
        """Watch a flow run that another worker, or this one before a restart, has submitted."""
        # Not by Prefect's own submission: it would set a run that ends just now to Pending again.
        try:
            configuration = await self.job_configuration.resolve_for_flow_run(
                flow_run,
                client=self.client,
                work_pool=copy.deepcopy(self.work_pool),
                worker_name=self.name,
                worker_id=self.backend_id,
            )
            await self._give_worker_labels_to_flow_run(flow_run.id)
            await self.run(flow_run, configuration)
        except Exception as error:  # noqa: BLE001 - one flow run must not end the worker
            self.get_flow_run_logger(flow_run).exception("The flow run is not watched.")
            waits = flow_run.state is not None and flow_run.state.is_pending()
            if waits and flow_run.infrastructure_pid is None:
                await self._propose_crashed_state(flow_run, f"No job was submitted: {error}")
        finally:
            self._release_limit_slot(flow_run.id)

    async def _unwatched(self) -> list[FlowRun]:
        """Return active flow runs of the pool that belong to this worker or to an offline one."""
        busy = self._watched | self._submitting_flow_run_ids
        workers = await self.client.read_workers_for_work_pool(self._work_pool_name)
        online = {one.name for one in workers if one.status == WorkerStatus.ONLINE} | {self.name}
        pool = WorkPoolFilter.model_validate({"name": {"any_": [self._work_pool_name]}})
        active = FlowRunFilter.model_validate({"state": {"type": {"any_": ACTIVE}}})
        found: list[FlowRun] = []
        for offset in itertools.count(0, PAGE):
            page = await self.client.read_flow_runs(
                flow_run_filter=active, work_pool_filter=pool, limit=PAGE, offset=offset
            )
            # Also leave out runs whose watch began or ended while the page was read.
            busy |= self._watched | self._submitting_flow_run_ids
            found += [
                flow_run
                for flow_run in page
                if flow_run.id not in busy and self._is_left(flow_run, online)
            ]
            if len(page) < PAGE:
                break
        return found

    def _is_left(self, flow_run: FlowRun, online: set[str]) -> bool:
        state, owner = flow_run.state, flow_run.labels.get("prefect.worker.name")
        if state is None or owner is None:
            return False
        if state.is_pending() and datetime.datetime.now(datetime.UTC) - state.timestamp < PATIENCE:
            return False
        # Only one worker takes over: two could submit the same job.
        return owner == self.name or (owner not in online and self.name == min(online))

    async def kill_infrastructure(
        self,
        infrastructure_pid: str,
        configuration: RemoteJobConfiguration,
        grace_seconds: int = 30,
    ) -> None:
        """Cancel a job, and kill it if it does not end in time.

        Raises:
            InfrastructureNotFound: The system has no such job.
            InfrastructureNotAvailable: The job belongs to another system or does not end, or the
                system does not answer.
        """
        name, _, job_id = infrastructure_pid.rpartition("::")
        try:
            async with configuration.system() as system:
                if name != system.name:
                    raise InfrastructureNotAvailable(
                        f"Job {job_id} is of {name}, and this work pool's jobs are of"
                        f" {system.name}."
                    )
                job = await system.status(job_id)
                if job is None:
                    raise InfrastructureNotFound(f"{name} knows no job {job_id}.")
                for force, seconds in ((False, grace_seconds), (True, KILL_SECONDS)):
                    deadline = time.monotonic() + seconds
                    if job is not None and not job.has_ended:
                        await system.cancel(job_id, force=force)
                    while job and not job.has_ended and time.monotonic() < deadline:
                        await anyio.sleep(min(1, seconds / 10))
                        job = await system.status(job_id)
        except (errors.PermanentError, errors.TransientError) as error:
            raise InfrastructureNotAvailable(str(error)) from error
        if job and not job.has_ended:
            raise InfrastructureNotAvailable(f"Job {job_id} of {name} was killed and goes on.")
