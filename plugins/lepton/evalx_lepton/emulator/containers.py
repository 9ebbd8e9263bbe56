"""From what a spec says of a container to the process that stands for it: variables, secrets, mounts, working folder."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from evalx_lepton.emulator.images import DEFAULT_RULES, Container, ImageRefused, command_for, substitute
from evalx_lepton.emulator.mounting import Mount
from evalx_lepton.emulator.processes import Launch
from evalx_lepton.emulator.settings import EmulatorSettings, Shape

WORKSPACE = "emulated"
"""The workspace's id and name; nobody shall take it for a real one."""


class Unstartable(Exception):
    """The container can never start. pull: because of its image."""

    def __init__(self, message: str, pull: bool = False) -> None:
        super().__init__(message)
        self.pull = pull


@frozen
class Request:
    """A container to run. replica: its id, unique in the workspace. env: the platform's own variables."""

    replica: str
    spec: Mapping[str, Any]
    env: Mapping[str, str]
    asked_port: int | None = None
    port: int | None = None


@frozen
class Preparer:
    """Makes processes of containers. state: the emulator's folder. can_mount: whether folders can appear at other paths here."""

    settings: EmulatorSettings
    state: Path
    secrets: Mapping[str, str]
    can_mount: bool

    def launch(self, request: Request) -> Launch:
        """What to run. Raises Unstartable."""
        spec = request.spec
        own = self.variables(spec.get("envs") or [])
        home = self.state / "replicas" / request.replica
        container = Container(
            image=spec["container"].get("image") or "",
            command=spec["container"].get("command") or [],
            env={"HOME": str(home), **own, **request.env},
            port=request.asked_port,
        )
        try:
            rules = (*self.settings.images, *(DEFAULT_RULES if self.settings.default_images else ()))
            command = command_for(container, rules, request.port)
        except ImageRefused as error:
            raise Unstartable(str(error), pull=True) from error
        mounts = self.mounts(spec.get("mounts") or [])
        if not self.can_mount:
            command, mounts = substitute(command, mounts), []
        home.mkdir(parents=True, exist_ok=True)
        return Launch(command.argv, command.env, home, self.log(request.replica), mounts)

    def log(self, replica: str) -> Path:
        """Where the output of a replica goes."""
        return self.state / "logs" / f"{replica}.log"

    def variables(self, envs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """The variables of a spec, with secrets in place of their names. Raises Unstartable for a secret that is not there."""
        return {entry["name"]: self._value(entry) for entry in envs}

    def mounts(self, entries: Sequence[Mapping[str, Any]]) -> list[Mount]:
        """Folders under the storage root, made if need be."""
        return [self._mount(entry) for entry in entries]

    def _value(self, entry: Mapping[str, Any]) -> str:
        name = (entry.get("value_from") or {}).get("secret_name_ref")
        if name is None:
            return str(entry.get("value") or "")
        if name not in self.secrets:
            raise Unstartable(f'secret "{name}" not found, needed for the variable {entry["name"]}')
        return self.secrets[name]

    def _mount(self, entry: Mapping[str, Any]) -> Mount:
        kind, _, volume = str(entry["from"]).partition(":")
        inside = posixpath.normpath("/" + str(entry.get("path") or "/")).lstrip("/")
        folder = self.state / "storage" / kind / volume.replace("/", "_") / inside
        folder.mkdir(parents=True, exist_ok=True)
        read_only = bool((entry.get("mount_options") or {}).get("read_only"))
        return Mount(str(folder), posixpath.normpath(entry["mount_path"]), read_only)


def accelerator_env(shape: Shape | None) -> dict[str, str]:
    """The variables that tell a workload of its accelerators."""
    if shape is None or not shape.accelerators:
        return {}
    return {"LEPTON_RESOURCE_ACCELERATOR_TYPE": shape.accelerator or "", "LEPTON_RESOURCE_ACCELERATOR_NUM": str(shape.accelerators)}
