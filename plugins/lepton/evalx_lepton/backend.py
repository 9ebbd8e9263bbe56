"""What one run shares in talking to its workspace: one client, one listing of each kind, its secrets, the ids of node groups."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from evalx.errors import ConfigError
from evalx_lepton.listing import Listing
from evalx_lepton.sdk import Workspace
from evalx_lepton.secrets import RunSecrets
from evalx_lepton.settings import LeptonSettings
from evalx_lepton.views import Endpoint, Job, Reason, Snapshot, View

if TYPE_CHECKING:
    from evalx.context import RunContext

REASON_EVERY, REASON_GAP = 10.0, 0.5
"""Seconds between two questions why one resource is not ready, and between any two such questions of the run."""


class Backend:
    """Of one run. Nothing is asked before it is needed."""

    def __init__(self, run: RunContext, connect: Callable[[], Workspace], wanted_secrets: Callable[[], Collection[str]]) -> None:
        """connect: makes the client; called once. wanted_secrets: see RunSecrets."""
        self._run = run
        self._connect = connect
        self._lock = threading.RLock()
        self._workspace: Workspace | None = None
        self._groups: dict[str, str] | None = None
        self._asked_why: dict[str, tuple[float, list[Reason]]] = {}
        self._last_why = float("-inf")
        self._secrets = RunSecrets(run, wanted_secrets)
        name = f"evalx-{run.run_id}"
        # One thread reads all listings: the memory that large ones have taken stays with the thread that has read them.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="evalx-lepton-listing")
        self.endpoints: Listing[Endpoint] = Listing(lambda: self._read(lambda: self.workspace.endpoints()))
        self.jobs: Listing[Job] = Listing(lambda: self._read(lambda: self.workspace.jobs(name, archived=True)))
        self.alive_jobs: Listing[Job] = Listing(lambda: self._read(lambda: self.workspace.jobs(name, archived=False)))

    def _read(self, fetch: Callable[[], Snapshot[View]]) -> Snapshot[View]:
        return self._reader.submit(fetch).result()

    @property
    def workspace(self) -> Workspace:
        """The client. Raises AuthError, PluginError."""
        with self._lock:
            if self._workspace is None:
                self._workspace = self._connect()
            return self._workspace

    @property
    def connected(self) -> bool:
        return self._workspace is not None

    def close(self) -> None:
        """Forget the client; the next call makes a new one."""
        with self._lock:
            if self._workspace is not None:
                self._workspace.close()
                self._workspace = None

    def ensure_secrets(self) -> None:
        """The run's secrets exist after this."""
        self._secrets.ensure(self.workspace)

    def delete_secrets(self, needed: Collection[str] = ()) -> bool:
        """Whether the run has no secrets any more but these."""
        return self._secrets.delete(self.workspace, needed)

    # ------------------------------------------------------------------ node groups

    def groups(self) -> Mapping[str, str]:
        """Id → name; asked once."""
        with self._lock:
            if self._groups is None:
                self._groups = self.workspace.node_groups()
            return self._groups

    def endpoint_group(self) -> str | None:
        """Id of the node group for endpoints, None if the config names none. Raises ConfigError if there is no such group."""
        settings: LeptonSettings = self._run.settings
        return self._group(settings.lepton_platform.deployment.node_group)

    def job_group(self) -> str | None:
        """The same for jobs."""
        settings: LeptonSettings = self._run.settings
        return self._group(settings.lepton_platform.tasks.node_group)

    def _group(self, name: str | None) -> str | None:
        return None if name is None else group_id(name, self.groups())

    # ------------------------------------------------------------------ reasons

    def why(self, kind: str, name: str) -> list[Reason]:
        """Why a `job` or `endpoint` is not ready, as the platform says it; at times what it said before, so that no tick asks for all."""
        with self._lock:
            now = time.monotonic()
            asked, known = self._asked_why.get(name, (float("-inf"), []))
            if now - asked < REASON_EVERY or now - self._last_why < REASON_GAP:
                return known
            self._last_why = now
            self._asked_why[name] = (now, known)
        found = self.workspace.reasons(kind, name)
        self._asked_why[name] = (now, found)
        return found


def group_id(name: str, groups: Mapping[str, str]) -> str:
    """The id of the node group of that name or id. Raises ConfigError if there is none, or several."""
    if name in groups:
        return name
    found = [group for group, called in groups.items() if called == name]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} node groups are called {name!r}: give the id" if found else f"there is no node group {name!r}"
    raise ConfigError(what, f"there are: {', '.join(f'{called} ({group})' for group, called in groups.items()) or 'none'}")
