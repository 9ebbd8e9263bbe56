"""Deleting a run's folders on the mounts: a small job does it, as nothing else sees the folders above them; then the job itself goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from evalx.errors import EvalxError, TransientError
from evalx_lepton.backend import Backend
from evalx_lepton.bodies import purge_body, purge_name
from evalx_lepton.listing import Departures
from evalx_lepton.ownership import is_ours
from evalx_lepton.problems import Conflict, NotFound
from evalx_lepton.states import Phase, job_phase
from evalx_lepton.views import Job, Snapshot

if TYPE_CHECKING:
    from evalx.context import RunContext

_GOING = {Phase.GOING, Phase.GONE}


class Purge:
    """The removal of one run's folders, from one process. settle: seconds in which a new job may be missing in what the platform tells."""

    def __init__(self, run: RunContext, backend: Backend, settle: float) -> None:
        self._run = run
        self._backend = backend
        self._settle = settle
        self._name = purge_name(run.run_id)
        self._asked = float("-inf")
        self._over = False
        self._failure: EvalxError | None = None
        self._departures = Departures()

    def look(self, image: str) -> bool:
        """Do the next step; whether folders and job are gone. image: any that has `rm`.

        Raises EvalxError if the folders could not be removed, once the job is gone; and what the platform's calls raise.
        """
        body = purge_body(self._run, image=image, owner=self._backend.workspace.fingerprint, group=self._backend.job_group())
        if not body["spec"]["mounts"]:
            return True
        snapshot = self._backend.alive_jobs.since(time.monotonic())
        jobs = [job for job in snapshot.named(self._name) if self._is_ours(job)]
        if self._over:
            return self._gone(jobs, snapshot)
        if live := [job for job in jobs if job_phase(job.state) not in _GOING]:
            self._judge(live[0])
        elif time.monotonic() - self._asked >= self._settle:
            self._create(body)
        return False

    def _is_ours(self, job: Job) -> bool:
        return is_ours(self._run, self._backend.workspace, job, self._name, None)

    def _create(self, body: dict[str, object]) -> None:
        """Two of them, should an answer be lost and the job appear late, do no harm: all of that name go in the end."""
        self._asked = time.monotonic()
        try:
            self._backend.workspace.create_job(body)
        except Conflict as error:
            raise TransientError(str(error)) from None

    def _judge(self, job: Job) -> None:
        phase = job_phase(job.state)
        if phase in (Phase.FAILED, Phase.STOPPED):
            self._failure = EvalxError(
                f"job {self._name}, which should remove the run's files, ended in state {job.state}",
                f"what it said: lep job log -n {self._name}",
            )
        self._over = phase in (Phase.FAILED, Phase.STOPPED, Phase.OVER)

    def _gone(self, jobs: list[Job], snapshot: Snapshot[Job]) -> bool:
        """Delete the jobs; whether two listings lack them, and none can appear any more."""
        if left := [job for job in jobs if job_phase(job.state) is not Phase.GONE]:
            self._departures.seen(self._name)
            for job in left:
                if job_phase(job.state) is not Phase.GOING:
                    self._delete(job)
            return False
        if time.monotonic() - self._asked < self._settle or not (snapshot.named(self._name) or snapshot.lacks(self._name)):
            return False
        if not self._departures.proven(self._name, snapshot, self._backend.alive_jobs, self._counts_as_gone):
            return False
        if self._failure is not None:
            self._over = False
            raise self._failure
        return True

    def _counts_as_gone(self, job: Job) -> bool:
        return job_phase(job.state) is Phase.GONE or not self._is_ours(job)

    def _delete(self, job: Job) -> None:
        try:
            self._backend.workspace.delete_job(job.id)
        except (NotFound, Conflict):
            return
