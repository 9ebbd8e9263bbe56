"""Jobs: workers that run to their end, are started again when they fail, and what is kept of a job afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from evalx_lepton.emulator.containers import WORKSPACE, Request, Unstartable, accelerator_env
from evalx_lepton.emulator.events import Events
from evalx_lepton.emulator.logs import LogFile
from evalx_lepton.emulator.names import suffix
from evalx_lepton.emulator.settings import JobFault
from evalx_lepton.emulator.wire import USER

if TYPE_CHECKING:
    from evalx_lepton.emulator.workspace import Workspace

RETRY_PAUSE = 0.5
"""Seconds before a failed worker starts again."""

FINAL = frozenset({"Completed", "Failed", "Stopped"})
DEFAULT_TTL = 600.0


@frozen
class JobSpec:
    """What the emulator reads of a job."""

    shape: str
    workers: int
    worker_retries: int
    job_retries: int
    ttl: float
    start_at: float
    node_groups: tuple[str, ...]
    stopped: bool

    @classmethod
    def read(cls, spec: Mapping[str, Any]) -> JobSpec:
        """Raises KeyError, TypeError, ValueError or AttributeError if it is not a job's spec."""
        if not isinstance(spec["container"].get("image"), str):
            raise TypeError("a container needs an image")
        ttl = spec.get("ttl_seconds_after_finished")
        return cls(
            shape=spec.get("resource_shape") or "",
            workers=int(spec.get("parallelism") or 1),
            worker_retries=int(spec.get("max_failure_retry") or 0),
            job_retries=int(spec.get("max_job_failure_retry") or 0),
            ttl=DEFAULT_TTL if ttl is None else float(ttl),
            start_at=float((spec.get("time_schedule") or {}).get("start_at") or 0),
            node_groups=tuple((spec.get("affinity") or {}).get("allowed_dedicated_node_groups") or ()),
            stopped=bool(spec.get("stopped")),
        )


@define(eq=False)
class Worker:
    """One container of a job. id: of its replica; a new one for each start. code: its exit code. until: when it starts again."""

    index: int
    id: str
    log: LogFile
    running: bool = False
    code: int | None = None
    failures: int = 0
    until: float | None = None


@define(eq=False)
class Job:
    """A job. created, completed: seconds since 1970. until: when a state ends by itself, monotonic."""

    workspace: Workspace
    id: str
    name: str
    spec: dict[str, Any]
    labels: dict[str, str]
    visibility: str = "public"
    owner: str = USER
    state: str = "Awaiting"
    workers: list[Worker] = field(factory=list)
    all_logs: list[LogFile] = field(factory=list)
    history: list[dict[str, Any]] = field(factory=list)
    events: Events = field(factory=Events)
    created: float = field(factory=time.time)
    completed: float | None = None
    version: int = 1
    failed: int = 0
    attempts: int = 0
    fault: JobFault | None = None
    archived: str | None = None
    until: float = 0.0
    read: JobSpec = field(init=False)
    _running_since: float = 0.0
    _going: str = ""

    def __attrs_post_init__(self) -> None:
        self.read = JobSpec.read(self.spec)

    def advance(self, now: float) -> None:
        """Do what is due."""
        if self.state == "Awaiting" and time.time() >= self.read.start_at:
            self.state = "Queueing"
        if self.state == "Queueing":
            self._place(now)
        if self.state == "Starting" and now >= self.until:
            self._start(now)
        elif self.state in ("Running", "PendingRetry"):
            self._run_on(now)
        elif self.state in ("Stopping", "Deleting"):
            self._settle(now)

    def change(self, spec: dict[str, Any]) -> None:
        """Another spec: only whether it is stopped has an effect on a job that exists."""
        was = self.read.stopped
        self.read, self.spec, self.version = JobSpec.read(spec), spec, self.version + 1
        if self.read.stopped and self.state not in FINAL:
            self._wind_up("Stopped")
        elif was and not self.read.stopped and self.state in FINAL:
            self._begin_again()

    def delete(self) -> None:
        """Begin to go. Repeatable."""
        if self._going != "Deleted":
            self._wind_up("Deleted")

    @property
    def is_final(self) -> bool:
        """It has ended by itself, or was stopped."""
        return self.state in FINAL

    def due_for_archive(self) -> bool:
        """Its time after the end is over."""
        return self.state in FINAL and self.completed is not None and time.time() >= self.completed + self.read.ttl

    def archive(self, state: str) -> None:
        """It leaves the alive lists. state: `Deleted`, `Archived`, or how it ended."""
        self.archived = state

    @property
    def is_deleted(self) -> bool:
        """Deleted, and nothing of it is left."""
        return self._going == "Deleted" and self.state == "Deleted"

    def shown_state(self) -> str:
        """The state as the platform names it."""
        if self.fault is not None and self.fault.kind == "unknown" and self.state == "Running":
            return "UNK"
        return self.archived or self.state

    def render(self) -> dict[str, Any]:
        """As answers show it."""
        metadata: dict[str, Any] = {"id": self.id, "name": self.name, "version": self.version, "visibility": self.visibility}
        metadata |= {"created_at": int(self.created * 1000), "created_by": self.owner, "owner": self.owner}
        if self.labels:
            metadata["labels"] = self.labels
        return {"metadata": metadata, "spec": self.spec, "status": self._status() | {"job_history": self.history}}

    def _status(self) -> dict[str, Any]:
        running = sum(worker.running for worker in self.workers)
        status = {
            "job_name": self.id if not self.attempts else f"{self.id}-{self.attempts}",
            "state": self.shown_state(),
            "ready": running,
            "active": running if self.state != "Starting" else self.read.workers,
            "failed": self.failed,
            "succeeded": sum(worker.code == 0 for worker in self.workers),
            "creation_time": int(self.created * 1000),
        }
        return status if self.completed is None else status | {"completion_time": int(self.completed * 1000)}

    def _place(self, now: float) -> None:
        if self.fault is None:
            self.fault = self.workspace.workload_faults.job(self.name)
        if self.fault is not None and self.fault.kind == "quota":
            self.events.add("QuotaExceeded", "the quota of the workspace is used up", warning=True)
            return
        lacking = self.fault is not None and self.fault.kind == "no_capacity"
        places = [self.workspace.capacity.take(f"{self.id}/{index}", self.read.shape) for index in range(self.read.workers)]
        if lacking or not all(places):
            self.events.add("FailedScheduling", self.workspace.capacity.describe(self.read.shape), warning=True)
            return
        self.state, self.until = "Starting", now + self.workspace.settings.job_start

    def _start(self, now: float) -> None:
        kind = self.fault.kind if self.fault else None
        if kind == "stuck":
            return
        if kind == "image_pull":
            self._refuse(f'failed to pull image "{self.spec["container"]["image"]}": manifest unknown', pull=True)
            return
        self.state, self._running_since = "Running", now
        self.workers = [self._new_worker(index) for index in range(self.read.workers)]
        for worker in self.workers:
            self._launch(worker)

    def _launch(self, worker: Worker) -> None:
        try:
            launch = self.workspace.preparer.launch(Request(worker.id, self.spec, self._platform_env(worker)))
        except Unstartable as error:
            self._refuse(str(error), error.pull)
            return
        worker.running, worker.until = True, None
        self.workspace.processes.launch(worker.id, launch, lambda code: self._ended(worker, code))
        self.events.add("Started", f"started worker {worker.index}")

    def _platform_env(self, worker: Worker) -> dict[str, str]:
        return {
            "LEPTON_JOB_NAME": self.id,
            "LEPTON_WORKER_ID": worker.id,
            "LEPTON_JOB_WORKER_INDEX": str(worker.index),
            "LEPTON_JOB_TOTAL_WORKERS": str(self.read.workers),
            "LEPTON_JOB_FAILURE_COUNT": str(worker.failures),
            "LEPTON_WORKSPACE_ID": WORKSPACE,
            "LEPTON_SUBDOMAIN": "127.0.0.1",
            "LEPTON_JOB_SERVICE_PREFIX": self.id,
            **accelerator_env(self.workspace.settings.shape(self.read.shape)),
        }

    def _ended(self, worker: Worker, code: int) -> None:
        worker.log.close()
        worker.running, worker.code = False, code
        if self.state not in ("Running", "PendingRetry"):
            return
        if code != 0:
            self._fail(worker)
        elif all(other.code == 0 for other in self.workers):
            self._finish("Completed")

    def _fail(self, worker: Worker) -> None:
        self.failed += 1
        worker.failures += 1
        self.events.add("Failed", f"worker {worker.index} ended with exit code {worker.code}", warning=True)
        if worker.failures <= self.read.worker_retries:
            self.state, worker.until = "PendingRetry", time.monotonic() + RETRY_PAUSE
        elif self.attempts < self.read.job_retries:
            self._wind_up("again")
        else:
            self._wind_up("Failed")

    def _run_on(self, now: float) -> None:
        for worker in list(self.workers):
            if worker.until is not None and now >= worker.until:
                again = self._new_worker(worker.index)
                again.failures = worker.failures
                self.workers[worker.index] = again
                self.state = "Running"
                self._launch(again)
        if self.fault is not None and now >= self._running_since + self.fault.after:
            self._strike(self.fault)

    def _strike(self, fault: JobFault) -> None:
        if fault.kind == "preempt":
            self.events.add("Preempted", "preempted by a workload of higher priority", warning=True)
            self._wind_up("Stopped")
        elif fault.kind == "oom":
            self._kill("OOMKilled", "worker 0 was killed: it used more memory than its shape has")
        elif fault.kind == "node_lost":
            self._kill("NodeLost", "node emulated-node-0 is lost, and worker 0 with it")
        elif fault.kind == "vanish":
            self._wind_up("vanished")
        elif fault.kind == "fail":
            self.failed += 1
            self.events.add("Failed", f"worker 0 ended with exit code {fault.exit_code}", warning=True)
            self._wind_up("Failed")

    def _kill(self, reason: str, message: str) -> None:
        """End the workers without warning."""
        self.events.add(reason, message, warning=True)
        self.failed += 1
        for worker in self.workers:
            if worker.running:
                self.workspace.processes.stop(worker.id, 0)
        self._wind_up("Failed")

    def _wind_up(self, towards: str) -> None:
        """Stop the workers; when all are gone, the job is what it goes towards."""
        self._going = towards
        self.state = "Deleting" if towards in ("Deleted", "vanished") else "Stopping"
        # How the job failed shall show at once; workers of a single-worker job are gone already.
        self.until = time.monotonic() + (self.workspace.settings.deletion if towards in ("Deleted", "Stopped") else 0)
        for worker in self.workers:
            worker.until = None
            if worker.running:
                self.workspace.processes.stop(worker.id, self.workspace.settings.grace)
        self._settle(time.monotonic())
        self.workspace.wake()

    def _settle(self, now: float) -> None:
        if now < self.until or any(worker.running for worker in self.workers):
            return
        if self._going == "again":
            self._begin_again()
        elif self._going in ("Deleted", "vanished"):
            self.state = self._going
            self._release()
        else:
            self._finish(self._going)

    def _begin_again(self) -> None:
        status = self._status()
        self.history.append(status | {"state": "Failed" if self._going == "again" else status["state"]})
        self.attempts += 1
        self._release()
        self.state, self.completed, self._going, self.workers, self.fault = "Queueing", None, "", [], None
        self.workspace.wake()

    def _finish(self, state: str) -> None:
        self.state, self.completed = state, time.time()
        self.events.add(state, f"the job is {state.lower()}")
        self._release()

    def _refuse(self, message: str, pull: bool) -> None:
        """A real platform would leave it waiting; here nothing will ever change, so it fails, and its log says why."""
        self.events.add("ErrImagePull" if pull else "CreateContainerConfigError", message, warning=True)
        log = (self.workers or [self._new_worker(0)])[0].log
        log.path.write_text(f"emulated workspace: {message}\n")
        log.close()
        self._wind_up("Failed")

    def _release(self) -> None:
        for index in range(self.read.workers):
            self.workspace.capacity.release(f"{self.id}/{index}")

    def _new_worker(self, index: int) -> Worker:
        name = f"{self.id}-{index}-{suffix(5)}"
        labels = {"job": self.id, "job_history_name": self._status()["job_name"], "replica": name}
        log = LogFile(self.workspace.preparer.log(name), labels)
        self.all_logs.append(log)
        return Worker(index, name, log)
