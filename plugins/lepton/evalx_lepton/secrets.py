"""The workspace secrets of a run: the only way in which values of this machine reach endpoints and jobs.

They are made at once, before what needs them first, under names that hold the run's id, and are deleted when the run is over. A process
that goes on with the run finds them again, or makes what is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from evalx.config.env import parse_env
from evalx.errors import ConfigError
from evalx.model import EndpointSpec, EnvValue, Secret
from evalx_lepton.bodies import TOKEN, secret_name
from evalx_lepton.problems import Conflict, NotFound
from evalx_lepton.sdk import Workspace

if TYPE_CHECKING:
    from evalx.context import RunContext

PURPOSE = "endpoint"
"""What the token of the run's endpoints is for, in `RunContext.token`."""


class RunSecrets:
    """The secrets of one run."""

    def __init__(self, run: RunContext, wanted: Callable[[], Mapping[str, str]]) -> None:
        """wanted: makes the names (without the run's part) and values of all that the run needs."""
        self._prefix = secret_name(run.run_id, "")
        self._wanted = wanted
        self._lock = threading.Lock()
        self._made = False

    def ensure(self, workspace: Workspace) -> None:
        """Make them if that was not done yet. Raises ConfigError for a variable that is not set."""
        with self._lock:
            if self._made:
                return
            values = {f"{self._prefix}{name}": value for name, value in self._wanted().items()}
            if values:
                self._create(workspace, values)
            self._made = True

    def _create(self, workspace: Workspace, values: Mapping[str, str]) -> None:
        known = workspace.secrets()
        missing = {name: value for name, value in values.items() if name not in known}
        try:
            if missing:
                workspace.create_secrets(missing)
        except Conflict:  # a list that lags behind: what is there already is ours, by its name
            for name, value in missing.items():
                self._create_one(workspace, name, value)

    def _create_one(self, workspace: Workspace, name: str, value: str) -> None:
        try:
            workspace.create_secrets({name: value})
        except Conflict:
            return

    def delete(self, workspace: Workspace) -> bool:
        """Delete all that begin with the run's prefix; whether there were none."""
        with self._lock:
            self._made = False
            left = [name for name in workspace.secrets() if name.startswith(self._prefix)]
            for name in left:
                try:
                    workspace.delete_secret(name)
                except NotFound:
                    continue
            return not left


def needed(run: RunContext, owned: list[EndpointSpec], environments: Iterator[Mapping[str, EnvValue]]) -> dict[str, str]:
    """Names and values of the run's secrets. owned: endpoints that the run deploys. environments: of its endpoints and jobs.

    Raises ConfigError for a variable that is not set.
    """
    host = {value for env in environments for value in env.values() if isinstance(value, Secret) and value.source == "host"}
    token = {TOKEN: run.token(PURPOSE)} if owned else {}
    return {**{secret.name: run.secret(secret) for secret in sorted(host, key=lambda secret: secret.name)}, **token}


def readable(env: Mapping[str, object]) -> dict[str, EnvValue]:
    """The variables of a mapping as a config writes it; none if it is not well formed, which is said elsewhere."""
    try:
        return parse_env(env)
    except ConfigError:
        return {}
