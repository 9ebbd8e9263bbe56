"""What the executor needs of whatever runs a server or task: the protocol, and the few values that pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from attrs import frozen

from evalx.model import Json
from evalx_local.ports import Port


@frozen
class Place:
    """Where one server or task is kept: the resource's name, and its folder in the run directory."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        """Standard output and error."""
        return self.folder / "output.log"

    @property
    def started(self) -> Path:
        """There before the process is; holds the hash of the spec it was started for."""
        return self.folder / "started"

    @property
    def exit_code(self) -> Path:
        """There, complete, once the command is over."""
        return self.folder / "exit_code"


@frozen
class Job:
    """What to start. env: what it gets beside what the runtime gives everything. marks: names and values by which it is found again.

    image, mounts (`host:container[:ro]`): for runtimes with containers.
    """

    argv: tuple[str, ...]
    workdir: Path
    env: Mapping[str, str]
    marks: Mapping[str, str]
    image: str | None = None
    mounts: tuple[str, ...] = ()


@frozen
class Status:
    """How a job is doing. exit_code: None while it runs, and if it ended without leaving one. ended: seconds since the epoch."""

    running: bool
    exit_code: int | None = None
    started: float | None = None
    ended: float | None = None


class Runtime(Protocol):
    """Starts jobs and finds them again, also those that another evalx process started. All calls return promptly.

    `data` is what `start` returned, a JSON object kept in the handle; it is empty if evalx died before it was written down.
    """

    def find(self, place: Place) -> Json | None:
        """The data of what was started there, whether it runs or is over; None if nothing was."""

    def start(self, place: Place, job: Job, port: Port) -> Json:
        """Start the job; it keeps the port reserved for as long as it lives."""

    def poll(self, place: Place, data: Json) -> Status:
        """How it is doing."""

    def stop(self, place: Place, data: Json) -> bool:
        """Ask it to end; asked again after a grace time, end it. True when nothing of it is left, also if there never was."""
