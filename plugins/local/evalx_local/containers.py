"""Jobs as containers: the same processes, whose command is `podman run` or `docker run`.

The container client stays in the foreground of a job's process, so the log, the exit code and the handle are those of any other job, and
pulling an image blocks nobody. Only stopping differs: the container is removed first, by name and label, then the client.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from attrs import evolve

from evalx.errors import TransientError
from evalx.model import Json
from evalx_local.ports import Port
from evalx_local.processes import GRACE, ProcessRuntime
from evalx_local.runtime import Job, Place, Status
from evalx_local.settings import ContainerSettings

WORKSPACE = "/workspace"
"""Where a job's folder is, as the job sees it."""

CALL_TIMEOUT = 60.0

CLIENT_VARIABLES = frozenset(
    {"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "XDG_RUNTIME_DIR", "CONTAINERS_CONF", "DOCKER_HOST", "DOCKER_CONFIG"}
)
"""Variables that steer the client itself: what a job's container is given under these names must not reach it."""


class ContainerRuntime:
    """Runs jobs as containers on the host's network: a task reaches a server, and evalx reaches both, at 127.0.0.1."""

    def __init__(self, program: str, settings: ContainerSettings) -> None:
        """program: `podman` or `docker`."""
        self._program = program
        self._settings = settings
        self._clients = ProcessRuntime()
        self._kill_at: dict[str, float] = {}

    def find(self, place: Place) -> Json | None:
        return self._clients.find(place)

    def start(self, place: Place, job: Job, port: Port) -> Json:
        own = {name: value for name, value in job.env.items() if name not in CLIENT_VARIABLES}
        client = evolve(job, argv=tuple(self._command(place, job)), workdir=place.folder, env=own)
        return self._clients.start(place, client, port)

    def poll(self, place: Place, data: Json) -> Status:
        return self._clients.poll(place, data)

    def stop(self, place: Place, data: Json) -> bool:
        if containers := self._containers(place):
            self._end(place, containers)
            return False
        # A client that is on its way can still create its container: look again once it is gone.
        if not self._clients.stop(place, data) or self._containers(place):
            return False
        self._kill_at.pop(place.name, None)
        return True

    def _command(self, place: Place, job: Job) -> Iterator[str]:
        yield from (self._program, "run", "--rm", "--name", place.name, "--network", "host")
        for name, value in job.marks.items():
            yield from ("--label", f"{name}={value}")
        for name, value in {**job.env, **job.marks}.items():
            # The client takes the value from its own environment, since arguments are for all to see.
            yield from ("--env", f"{name}={value}" if name in CLIENT_VARIABLES else name)
        for mount in (f"{job.workdir}:{WORKSPACE}", *job.mounts, *self._settings.mounts):
            yield from ("--volume", mount)
        yield from ("--workdir", WORKSPACE, *self._limits(), *self._settings.extra_args)
        assert job.image is not None
        # Images bring entrypoints of their own, which would be put before the command.
        yield from ("--entrypoint", job.argv[0], job.image, *job.argv[1:])

    def _limits(self) -> Iterator[str]:
        limits = {"--memory": self._settings.memory, "--cpus": self._settings.cpus, "--pids-limit": self._settings.pids}
        for option, value in limits.items():
            if value is not None:
                yield from (option, str(value))

    def _containers(self, place: Place) -> list[str]:
        """Ids of the containers of that name that carry our label: a look-alike is none of ours."""
        named, labelled = f"name=^{place.name}$", f"label=EVALX_RESOURCE={place.name}"
        return self._call("ps", "--all", "--quiet", "--filter", named, "--filter", labelled).split()

    def _end(self, place: Place, containers: list[str]) -> None:
        if place.name not in self._kill_at:
            self._kill_at[place.name] = time.monotonic() + GRACE
            self._call("kill", "--signal", "TERM", *containers, may_fail=True)
        elif time.monotonic() > self._kill_at[place.name]:
            self._call("kill", "--signal", "KILL", *containers, may_fail=True)  # podman's `rm` alone would give it 10 seconds more
            self._call("rm", "--force", *containers, may_fail=True)

    def _call(self, *arguments: str, may_fail: bool = False) -> str:
        try:
            done = subprocess.run([self._program, *arguments], capture_output=True, text=True, timeout=CALL_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TransientError(f"{self._program} {arguments[0]}: {error}") from error
        if done.returncode and not may_fail:
            raise TransientError(f"{self._program} {arguments[0]} failed: {done.stderr.strip()[-300:]}")
        return done.stdout
