"""What a hook is given as `run`: the run's facts, and the few services that every executor shares."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from evalx.errors import ConfigError
from evalx.model import EndpointHandle, EnvValue, Handle, Outcome, RunPlan, Secret, Site, Spec, TaskCommand, TaskResult, TaskSpec
from evalx.redaction import hold, mask_files

if TYPE_CHECKING:
    from evalx.manager import RunManager

NAME_LENGTH = 36
"""The longest name every backend accepts (Lepton's job names)."""


@define(eq=False)
class RunContext:
    """One run, as hooks see it. Safe to use from several threads.

    plan: all that will happen. settings: the executor's `Settings` instance, from `execution` of the config. directory: the run's own
    folder. plugins: the run's plugin manager. stopping: set when the run is being ended; hooks that wait must watch it.
    trust_commands: pre_cmd and post_cmd of the config may run.
    """

    plan: RunPlan
    settings: Any
    directory: Path
    plugins: RunManager
    trust_commands: bool = False
    stopping: threading.Event = field(factory=threading.Event)
    _reports: dict[str, Report] = field(factory=dict, init=False)

    @property
    def run_id(self) -> str:
        return self.plan.run_id

    def resource_name(self, spec: Spec) -> str:
        """The one name under which this spec may exist at a backend: `[a-z][a-z0-9-]*`, at most 36 characters, run id included."""
        kind = "t" if isinstance(spec, TaskSpec) else "e"
        retry = f"r{spec.attempt}" if spec.attempt else ""
        stem = f"evalx-{self.run_id}-{kind}{spec.index}{retry}"
        slug = re.sub(r"[^a-z0-9]+", "-", spec.name.lower()).strip("-")
        return f"{stem}-{slug}"[:NAME_LENGTH].rstrip("-") if slug else stem

    def spec_hash(self, spec: Spec) -> str:
        """First 16 hex digits of the SHA-256 of the spec: the second key, beside the name, that tells ours from a look-alike."""
        from evalx.serial import to_json

        return hashlib.sha256(json.dumps(to_json(spec), sort_keys=True).encode()).hexdigest()[:16]

    def labels(self, spec: Spec) -> dict[str, str]:
        """Labels (or environment entries) that mark a resource as belonging to this run."""
        return {"EVALX_RUN": self.run_id, "EVALX_RESOURCE": self.resource_name(spec), "EVALX_SPEC": self.spec_hash(spec)}

    def task_dir(self, task: TaskSpec) -> Path:
        """Where a task's files are kept in the run directory; made if missing."""
        return self._folder("tasks", task)

    def endpoint_dir(self, handle: EndpointHandle) -> Path:
        """Where an endpoint's logs are kept in the run directory; made if missing."""
        return self._folder("endpoints", handle.spec)

    def _folder(self, kind: str, spec: Spec) -> Path:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", spec.name).strip(".-")[:60]
        retry = f"-r{spec.attempt}" if spec.attempt else ""
        path = self.directory / kind / f"{spec.index:03d}-{slug}{retry}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def secret(self, secret: Secret) -> str:
        """The value of a `host:` reference, at the last moment. Raises ConfigError if the variable is not set."""
        value = os.environ.get(secret.name) if secret.source == "host" else None
        if value is None:
            raise ConfigError(f"environment variable {secret.name} is not set", f"export {secret.name}=…")
        return value

    def token(self, purpose: str) -> str:
        """A secret of this run for that purpose: 43 URL-safe characters, the same for every process of this machine. It is in no file but
        that of an endpoint which the user keeps (see `evalx.keeping.kept`).

        It is derived from a key that is kept in the state directory. Raises StoreError if the key cannot be read or made.
        """
        from evalx.store.key import state_key

        mac = hmac.digest(state_key(), f"{self.run_id}:{purpose}".encode(), "sha256")
        token = base64.urlsafe_b64encode(mac).decode().rstrip("=")
        hold(f"{purpose} token", token)
        return token

    def environment(self, env: Mapping[str, EnvValue]) -> dict[str, str]:
        """The variables with every reference replaced by its value. For a process about to start; never for a log or a file."""
        return {name: self.secret(value) if isinstance(value, Secret) else value for name, value in env.items()}

    def command(self, task: TaskSpec, endpoint: EndpointHandle, site: Site) -> TaskCommand:
        """What to run for a task at that site: the harness's command, wrapped with everything the config asks for."""
        from evalx.harnesses.build import task_command

        return task_command(self.plugins.harness(task.harness), task, endpoint, site, trusted=self.trust_commands)

    def result(
        self,
        task: TaskSpec,
        *,
        exit_code: int | None = None,
        outcome: Outcome | None = None,
        reason: str | None = None,
        started: float | None = None,
        ended: float | None = None,
    ) -> TaskResult:
        """The result of a task that is over, from the files in `task_dir(task)/results`.

        exit_code: of its command, if it had one. outcome, reason: given where the executor knows better (cancelled, timed out, lost);
        they win over what the files say. A pass needs a result file that parses, whatever the exit code says.

        Before they are read, secrets in the task's files are overwritten with asterisks.
        """
        from evalx.results import conclude

        mask_files(self.task_dir(task))
        return conclude(
            self.plugins.harness(task.harness),
            task,
            self.task_dir(task),
            exit_code=exit_code,
            outcome=outcome,
            reason=reason,
            started=started,
            ended=ended,
        )

    def report(
        self,
        subject: Spec | Handle,
        phase: str,
        reason: str | None = None,
        done: int | None = None,
        total: int | None = None,
        activity: int | None = None,
        queued: bool | None = None,
    ) -> None:
        """Say how something is doing while a hook answers "not yet": a word for the phase, why, and done of total samples if known.

        queued: whether a task still waits for the platform to start it, which its own time limit does not count; None: that is not known
        now. Told by executors whose settings have a `queue_timeout`.

        activity: any number that changes while it is not stuck (the size of its log, say); nobody is shown it, but it counts as progress.
        What has told done or activity once, and then nothing new for `execution.no_progress_timeout`, is given up.
        """
        spec = subject if not hasattr(subject, "spec") else subject.spec
        self._reports[self.resource_name(spec)] = Report(phase, reason, done, total, activity, queued)

    def last_report(self, spec: Spec) -> Report | None:
        """What was last said of a spec."""
        return self._reports.get(self.resource_name(spec))


@define
class Report:
    """What a hook said while it was not done: see `RunContext.report`."""

    phase: str
    reason: str | None = None
    done: int | None = None
    total: int | None = None
    activity: int | None = None
    queued: bool | None = None

    def looks_like(self, other: Report | None) -> bool:
        """Whether both say the same to a user."""
        return other is not None and evolve(self, activity=None, queued=None) == evolve(other, activity=None, queued=None)
