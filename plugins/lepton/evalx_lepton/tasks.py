"""The jobs of a run: submitted once, found again, collected, deleted."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from attrs import evolve

from evalx import failpoints
from evalx.errors import ConfigError, EvalxError, TaskRefused, TransientError
from evalx.harnesses.api import ResultError
from evalx.model import Artifact, EndpointHandle, Outcome, TaskHandle, TaskResult, TaskSpec
from evalx_lepton.accepted import refuse
from evalx_lepton.advice import hint_for, in_words
from evalx_lepton.backend import Backend
from evalx_lepton.bodies import Json, job_body, marks_of
from evalx_lepton.endpoints import warn_foreign
from evalx_lepton.frames import Frames, unpack
from evalx_lepton.harvest import Harvest
from evalx_lepton.job import frame_key, job_command, location
from evalx_lepton.listing import Departures
from evalx_lepton.ownership import is_ours
from evalx_lepton.problems import Conflict, NotFound, Refused
from evalx_lepton.progress import Progress
from evalx_lepton.states import UNHEARD_OF, Phase, is_hopeless, job_phase
from evalx_lepton.views import Job, Reason

if TYPE_CHECKING:
    from evalx.context import RunContext

SHORT_PATIENCE = {Phase.STOPPED: 6.0, Phase.FAILED: 20.0, Phase.GOING: 0.0, Phase.GONE: 0.0}
"""Seconds in which a job that did not end well must have told what it has; it may never have come so far."""

QUIET_START = 20.0
"""Seconds after which it is asked why a job does not start."""

DELETED = "somebody, or something, has deleted it; evalx resume {run} runs the task again"

UNREADABLE = "list jobs: the answer holds something that leptonai cannot read"

NO_REASON = "the platform gives no reason (hint: lep job events -i {id})"
"""Of a job that does not start."""

KILLED = 128
"""Exit codes above are those of programs that were killed."""

_RUNNING = {Phase.WAITING, Phase.UP, Phase.UNKNOWN}


class Jobs:
    """The jobs of one run. settle: seconds in which a new job may be missing in what the platform tells."""

    def __init__(self, run: RunContext, backend: Backend, settle: float) -> None:
        self._run = run
        self._backend = backend
        self._settle = settle
        self._born = time.monotonic()
        self._lock = threading.Lock()
        self._unanswered: dict[str, float] = {}
        self._submitted: dict[str, float] = {}
        self._harvests: dict[str, Harvest] = {}
        self._departures = Departures()
        self._progress = Progress(run, lambda: backend.workspace)
        self._foreign: set[str] = set()

    # ------------------------------------------------------------------ submit

    def submit(self, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        name = self._run.resource_name(task)
        job = self._adopted(task, name) or self._create(task, endpoint, name)
        with self._lock:
            self._submitted[name] = time.monotonic()
        return TaskHandle(task, name, {"id": job.id, "owner": self._backend.workspace.fingerprint})

    def body(self, task: TaskSpec, endpoint: EndpointHandle, group: str | None, owner: str) -> Json:
        """What is sent to create the task's job. Raises ConfigError."""
        command = job_command(self._run, task, endpoint)
        return job_body(self._run, task, command=command.argv, image=command.image, env=command.env, owner=owner, group=group)

    def _create(self, task: TaskSpec, endpoint: EndpointHandle, name: str) -> Job:
        workspace = self._backend.workspace
        body = self.body(task, endpoint, self._backend.job_group(), workspace.fingerprint)
        self._backend.ensure_secrets()
        try:
            refuse("job", body)
            failpoints.reach("executor.task.before")
            job = workspace.create_job(body)
            failpoints.reach("executor.task.after")
        except Refused as error:
            raise TaskRefused(str(error), error.hint) from None
        except (TransientError, Conflict) as error:
            # Whether there is a job now, nobody knows: the next try looks for it first.
            self._unanswered[name] = time.monotonic()
            raise TransientError(str(error), getattr(error, "retry_after", None)) from None
        self._unanswered.pop(name, None)
        return job

    def _adopted(self, task: TaskSpec, name: str) -> Job | None:
        """The job that was created before, if there is one; the oldest, should there be several: the others are deleted."""
        alive = [job for job in self._before(name) if job_phase(job.state) not in (Phase.GOING, Phase.GONE)]
        marks = marks_of(self._run, task, self._backend.workspace.fingerprint)
        ours = [job for job in alive if all(job.marks.get(key) == value for key, value in marks.items())]
        if alive and not ours:
            raise TaskRefused(f"job {name} exists already, and is not what this run would create", f"evalx cleanup {self._run.run_id}")
        ours.sort(key=lambda job: (job.created or 0.0, job.id))
        for twin in ours[1:]:
            self._delete(twin)
        return ours[0] if ours else None

    def _before(self, name: str) -> tuple[Job, ...]:
        """Jobs of that name. As nobody else creates them, one listing serves all that this process has not tried to create yet; and a
        second one, once everything is listed that a process before this one can have asked for.

        Raises TransientError while a job that was asked for, without an answer, may still appear.
        """
        failed = self._unanswered.get(name)
        if failed is None:
            settled = self._born + self._settle
            snapshot = self._backend.jobs.since(settled if time.monotonic() >= settled else self._born)
            if not snapshot.named(name) and not snapshot.lacks(name):
                raise TransientError(UNREADABLE)
            return snapshot.named(name)
        due = failed + self._settle
        snapshot = self._backend.jobs.since(min(due, time.monotonic()))
        found = snapshot.named(name)
        if found or (time.monotonic() >= due and snapshot.lacks(name)):
            return found
        raise TransientError(f"whether job {name} was created is not known yet", max(due - time.monotonic(), 1.0))

    # ------------------------------------------------------------------ collect

    def collect(self, handle: TaskHandle, tick: float) -> TaskResult | None:
        """tick: seconds that a listing may be old."""
        job = self._find(handle, tick)
        if job is None and self._is_young(handle):
            self._run.report(handle, "submitted", "the platform does not show it yet")
            return None
        if job is None:
            return self._run.result(
                handle.spec, outcome=Outcome.LOST, reason=f"its job is gone (hint: {DELETED.format(run=self._run.run_id)})"
            )
        phase = job_phase(job.state)
        if phase in _RUNNING:
            return self._waiting(handle, job, phase)
        self._progress.forget(job)
        return self._harvested(handle, job, phase)

    def _find(self, handle: TaskHandle, tick: float) -> Job | None:
        """The job: by its id; without one, the oldest of its name that is ours. Also one that was put away; but not one that is so new
        that a listing need not show it."""
        wanted = handle.data.get("id")
        snapshot = self._backend.alive_jobs.within(tick)
        named = snapshot.named(handle.resource)
        found = [job for job in named if (job.id == wanted if wanted else self._is_ours(job, handle))]
        if found:
            return min(found, key=lambda job: (job.created or 0.0, job.id))
        if wanted is None and not named and not snapshot.lacks(handle.resource):
            raise TransientError(UNREADABLE)
        return self._backend.workspace.job(wanted) if wanted and not self._is_young(handle) else None

    def _is_young(self, handle: TaskHandle) -> bool:
        submitted = self._submitted.get(handle.resource)
        return submitted is not None and time.monotonic() - submitted < self._settle

    def _waiting(self, handle: TaskHandle, job: Job, phase: Phase) -> TaskResult | None:
        """Report how it is doing; a result if it can never start."""
        reasons = []
        late = phase is Phase.WAITING and job.created is not None and self._backend.workspace.now() - job.created > QUIET_START
        if late:
            reasons = self._backend.why("job", job.id)
        hint = hint_for("job", reasons, self._run.run_id, job.name)
        for reason in reasons:
            if is_hopeless(reason.reason, reason.message):
                why = in_words([Reason(f"its job cannot start: {reason}")], hint)
                return self._run.result(handle.spec, outcome=Outcome.FAILED, reason=why, started=job.created)
        if phase is Phase.UNKNOWN:
            self._run.report(handle, "unknown", UNHEARD_OF)
        else:
            said = in_words(reasons, hint) or (NO_REASON.format(id=job.id) if late else None)
            done, total = (self._progress.of(handle.spec, job) if phase is Phase.UP else None) or (None, None)
            # The log is looked at too seldom for its silence to mean that the job is stuck.
            activity = None if done is None else int(time.monotonic())
            self._run.report(handle, job.state.lower(), said, done, total, activity, queued=phase is Phase.WAITING)
        return None

    def _harvested(self, handle: TaskHandle, job: Job, phase: Phase) -> TaskResult | None:
        """The result of a job that is over, once it is here, or once it is too late for it."""
        task = handle.spec
        harvest = self._harvests.setdefault(
            handle.resource, Harvest(self._backend.workspace, job, frame_key(self._run, task), self._run.task_dir(task))
        )
        if not self._look(harvest) and time.monotonic() - harvest.since < self._patience(phase):
            self._run.report(handle, "collecting", "the job is over; its results have not come through its log yet", queued=False)
            return None
        del self._harvests[handle.resource]
        try:
            frames = harvest.frames.frames()
            left = unpack(frames.archive, self._run.task_dir(task))
        except ResultError as error:
            return self._without_frames(task, job, phase, error.message)
        return self._concluded(task, job, phase, frames, left)

    def _look(self, harvest: Harvest) -> bool:
        try:
            return harvest.look()
        except NotFound:  # the history of a job that is not even archived
            return False

    def _patience(self, phase: Phase) -> float:
        seconds: float = self._run.settings.lepton_platform.tasks.log_timeout
        return min(seconds, SHORT_PATIENCE.get(phase, seconds))

    def _concluded(self, task: TaskSpec, job: Job, phase: Phase, frames: Frames, left: tuple[Artifact, ...]) -> TaskResult:
        cut_short = phase in (Phase.STOPPED, Phase.GOING) and frames.exit_code != 0
        result = self._run.result(
            task,
            exit_code=frames.exit_code,
            outcome=(Outcome.LOST if phase is Phase.GOING else Outcome.CANCELLED) if cut_short else None,
            reason=self._why_cut(job, phase) if cut_short else None,
            started=frames.started,
            ended=frames.ended,
        )
        if phase is Phase.FAILED and frames.exit_code > KILLED and result.reason:
            result = evolve(result, reason=self._why_ended(job, result.reason))
        where = location(self._run, task) or "only in the job's container"
        return evolve(result, artifacts=(*result.artifacts, *(evolve(file, path=f"{where}/{file.path}") for file in left)))

    def _without_frames(self, task: TaskSpec, job: Job, phase: Phase, why: str) -> TaskResult:
        outcome = {
            Phase.FAILED: Outcome.FAILED,
            Phase.STOPPED: Outcome.CANCELLED,
            Phase.GOING: Outcome.LOST,
            Phase.GONE: Outcome.LOST,
        }.get(phase, Outcome.NO_RESULT)
        where = location(self._run, task)
        state = f"gone (state {job.state})" if outcome is Outcome.LOST else f"in state {job.state}"
        said = f"its job is {state}, and {why}" + (f"; its files are at {where}" if where else "")
        reason = self._why_ended(job, said) if phase in (Phase.FAILED, Phase.STOPPED) else said
        reason += f" (hint: {DELETED.format(run=self._run.run_id)})" if outcome is Outcome.LOST else ""
        return self._run.result(task, outcome=outcome, reason=reason, started=job.created, ended=job.ended)

    def _why_cut(self, job: Job, phase: Phase) -> str:
        if phase is Phase.GOING:
            return f"its job is gone (hint: {DELETED.format(run=self._run.run_id)})"
        return self._why_ended(job, "its job was stopped, or preempted")

    def _why_ended(self, job: Job, said: str) -> str:
        """What the platform has to say of a job that did not end by itself, before what is known anyway; and what to do."""
        try:
            reasons = self._backend.workspace.reasons("job", job.id)
        except EvalxError:  # the job's end is told all the same
            reasons = []
        told = in_words([*reasons, Reason(said)], hint_for("job", reasons, self._run.run_id, job.name))
        return told or said

    # ------------------------------------------------------------------ end

    def cancel(self, handle: TaskHandle) -> bool:
        """Ask the job to stop; it tells what it has before it ends."""
        job_id = handle.data.get("id")
        if job_id is None and (job := self._find(handle, 1.0)) is not None:
            job_id = job.id
        if job_id is not None:
            try:
                self._backend.workspace.stop_job(job_id)
            except NotFound:
                return True
            except Conflict as error:
                job = self._backend.workspace.job(job_id)
                if job is not None and job_phase(job.state) in _RUNNING:
                    raise TransientError(str(error)) from None
        return True

    def cleanup(self, handle: TaskHandle, tick: float) -> bool:
        """Delete every job of ours under its name. True once the platform knows of none alive, in two listings. tick: as in collect."""
        name, job_id = handle.resource, handle.data.get("id")
        snapshot = self._backend.alive_jobs.within(tick)
        found = {job.id: job for job in snapshot.named(name)}
        if job_id is not None and job_id not in found and not self._departures.noted(name):
            job = self._backend.workspace.job(job_id, archived=False)  # a listing may lag behind
            found |= {job_id: job} if job is not None else {}
        alive = [job for job in found.values() if not self._counts_as_gone(job)]
        ours = [job for job in alive if self._is_ours(job, handle)]
        if len(ours) < len(alive):
            self._foreign |= {job.id for job in alive if job not in ours}
            warn_foreign("job", name)
        if not ours and (found or snapshot.lacks(name)):
            return self._departures.proven(name, snapshot, self._backend.alive_jobs, self._counts_as_gone)
        self._departures.seen(name)
        if ours and self._departures.due(name):
            for job in ours:
                if job_phase(job.state) is not Phase.GOING:
                    self._delete(job)
            self._departures.note(name)
        return False

    def _counts_as_gone(self, job: Job) -> bool:
        return job_phase(job.state) is Phase.GONE or job.id in self._foreign

    def _is_ours(self, job: Job, handle: TaskHandle) -> bool:
        return is_ours(self._run, self._backend.workspace, job, handle.resource, handle.spec, handle.data.get("owner"))

    def _delete(self, job: Job) -> None:
        try:
            failpoints.reach("executor.delete.before")
            self._backend.workspace.delete_job(job.id)
            failpoints.reach("executor.delete.after")
        except (NotFound, Conflict):
            return

    def image(self) -> str:
        """An image that the run has used, for jobs of its own. Raises ConfigError if there is none."""
        for task in self._run.plan.tasks:
            if image := task.options.get("container") or self._run.settings.lepton_platform.tasks.image:
                return str(image)
        raise ConfigError("no task of the run has a container", "set execution.lepton_platform.tasks.image")
