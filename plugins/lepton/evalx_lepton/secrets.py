"""The workspace secrets of a run: the only way in which values of this machine reach endpoints and jobs.

They are made at once, before what needs them first, under names that hold the run's id, and are deleted when the run is over. A process
that goes on with the run finds them again, or makes what is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from evalx import failpoints
from evalx.config.env import parse_env
from evalx.errors import ConfigError, EvalxError
from evalx.model import EndpointSpec, EnvValue, Secret
from evalx_lepton.bodies import TOKEN, secret_name
from evalx_lepton.ownership import TAG, is_our_secret, owner_tag
from evalx_lepton.problems import Conflict, NotFound
from evalx_lepton.sdk import Workspace

if TYPE_CHECKING:
    from evalx.context import RunContext

PURPOSE = "endpoint"
"""What the token of the run's endpoints is for, in `RunContext.token`."""


class RunSecrets:
    """The secrets of one run."""

    def __init__(self, run: RunContext, wanted: Callable[[], Collection[str]]) -> None:
        """wanted: makes the names (without the run's part) of all that the run needs; TOKEN is the run's own, the others are variables."""
        self._run = run
        self._prefix = secret_name(run.run_id, "")
        self._wanted = wanted
        self._lock = threading.Lock()
        self._made = False

    def ensure(self, workspace: Workspace) -> None:
        """Make them if that was not done yet. Raises ConfigError for a variable that is not set."""
        with self._lock:
            if self._made:
                return
            values = {f"{self._prefix}{name}": self._value(name) for name in sorted(self._wanted())}
            if values:
                self._create(workspace, values)
            self._made = True

    def _value(self, name: str) -> str:
        return self._run.token(PURPOSE) if name == TOKEN else self._run.secret(Secret(f"host:{name}"))

    def _create(self, workspace: Workspace, values: Mapping[str, str]) -> None:
        known = workspace.secrets()
        missing = {name: value for name, value in values.items() if name not in known}
        try:
            if missing:
                failpoints.reach("executor.secret.before")
                workspace.create_secrets(missing, _tags(workspace))
                failpoints.reach("executor.secret.after")
        except Conflict:  # a list that lags behind: what is there already is ours, by its name
            for name, value in missing.items():
                self._create_one(workspace, name, value)

    def _create_one(self, workspace: Workspace, name: str, value: str) -> None:
        try:
            workspace.create_secrets({name: value}, _tags(workspace))
        except Conflict:
            return

    def delete(self, workspace: Workspace, needed: Collection[str] = ()) -> bool:
        """Delete those of the run, but for the ones that are still needed, named without the run's part; whether there were none. What has
        but the run's prefix is left alone."""
        with self._lock:
            self._made = False
            spared = {f"{self._prefix}{name}" for name in needed}
            named = {name: secret for name, secret in workspace.secrets().items() if name.startswith(self._prefix) and name not in spared}
            known = () if all(secret.tags for secret in named.values()) else self._own_names()
            left = [name for name, secret in named.items() if is_our_secret(secret, workspace.fingerprint, known)]
            for name in left:
                try:
                    workspace.delete_secret(name)
                    failpoints.reach("executor.secret.deleted")
                except (NotFound, Conflict):  # one that is in the way of something is asked to go again
                    continue
            return not left

    def _own_names(self) -> list[str]:
        """The names that the run's plan leads to; none where the plan cannot be followed any more."""
        try:
            return [f"{self._prefix}{name}" for name in self._wanted()]
        except EvalxError:
            return []


def _tags(workspace: Workspace) -> tuple[str, str]:
    return TAG, owner_tag(workspace.fingerprint)


def needed(owned: Sequence[EndpointSpec], environments: Iterator[Mapping[str, EnvValue]]) -> set[str]:
    """Names of the run's secrets. owned: endpoints that the run deploys. environments: of its endpoints and jobs."""
    host = {value.name for env in environments for value in env.values() if isinstance(value, Secret) and value.source == "host"}
    return host | ({TOKEN} if owned else set())


def readable(env: Mapping[str, object]) -> dict[str, EnvValue]:
    """The variables of a mapping as a config writes it; none if it is not well formed, which is said elsewhere."""
    try:
        return parse_env(env)
    except ConfigError:
        return {}
