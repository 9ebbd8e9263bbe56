"""What really exists, asked of the operating system or of the emulator's own memory; never of evalx."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from tests.faults.seeds.plans import LATE

HERE = Path(__file__).parent
SERVER = [sys.executable, "-I", "-S", str(HERE.parents[1] / "benchmarks" / "small_server.py")]

SETTLE = 2.0
"""Seconds in which a create call of unknown outcome may still have its effect and be listed, in these tests."""

LIST_LAG = 0.3
"""Seconds by which lists lag behind."""

LOST_RATE, LATE_RATE = 0.3, 0.2


class Ground(Protocol):
    """What can be alive, and has been created, of one trial."""

    executor: str
    lag: float
    """Seconds after the last process's end in which something may still come into being."""

    def environment(self) -> dict[str, str]: ...

    def config(self, folder: Path) -> dict[str, Any]:
        """The parts `execution` and `deployment` of a config."""

    def begin(self, folder: Path) -> None:
        """A new trial."""

    def close(self) -> None:
        """After the last one."""

    def alive(self) -> set[str]:
        """Names of the resources that exist; secrets as `secret/NAME`."""

    def created(self) -> Counter[str]:
        """Name of resource → how often one of that name came into being."""


class LocalGround:
    """The process table, and a file in which every server and task writes its name first."""

    executor, lag = "local", 0.0

    def begin(self, folder: Path) -> None:
        self._folder = folder
        self._starts = folder / "starts"
        self._starts.touch()

    def close(self) -> None:
        pass

    def environment(self) -> dict[str, str]:
        return {}

    def config(self, folder: Path) -> dict[str, Any]:
        script = 'echo "$EVALX_RESOURCE" >> "$0"; exec "$@"'
        argv = ["sh", "-c", script, str(folder / "starts"), *SERVER, "{port}", "stub"]
        return {
            "defaults": [{"execution": "local/default"}, {"deployment": "command"}, "_self_"],
            "execution": {},
            "deployment": {"argv": argv, "served_model_name": "stub", "health_path": None},
        }

    def alive(self) -> set[str]:
        mark, found = f"EVALX_STATE_DIR={self._folder}/state".encode(), set()
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal():
                with suppress(OSError):
                    variables = Path(entry.path, "environ").read_bytes().split(b"\0")
                    if mark in variables:
                        found |= {text[15:].decode() for text in variables if text.startswith(b"EVALX_RESOURCE=")}
        return found

    def created(self) -> Counter[str]:
        return Counter(self._starts.read_text().split())


class LeptonGround:
    """An emulated workspace in a process of its own, for any number of trials after one another. It tells what is in its memory.

    Of its answers to create calls some are lost, and some calls have their effect late, whether or not the caller is still there.
    """

    executor, lag = "lepton", LATE + LIST_LAG

    def __init__(self, state: Path, seed: int) -> None:
        ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                ours.close()
                _emulate(theirs, state, seed)
            finally:
                os._exit(0)
        theirs.close()
        self._line = ours.makefile("rw")
        ours.close()
        self._environment: dict[str, str] = json.loads(self._line.readline())

    def begin(self, folder: Path) -> None:
        self._ask("forget")
        self._others = set(self._ask("alive"))

    def close(self) -> None:
        self._line.close()
        os.waitpid(self._pid, 0)

    def environment(self) -> dict[str, str]:
        return self._environment

    def config(self, folder: Path) -> dict[str, Any]:
        return {
            "defaults": [{"execution": "lepton/default"}, {"deployment": "vllm"}, "_self_"],
            "execution": {"env_var_names": ["SEED_SECRET"], "lepton_platform": {"tasks": {"mounts": []}}},
            "deployment": {
                "image": "example.test/server:1",
                "checkpoint_path": "example/stub",
                "served_model_name": "stub",
                "lepton_config": {"resource_shape": "gpu.small"},
            },
        }

    def alive(self) -> set[str]:
        return set(self._ask("alive")) - self._others

    def created(self) -> Counter[str]:
        return Counter(self._ask("created"))

    def _ask(self, what: str) -> Any:
        print(what, file=self._line, flush=True)
        return json.loads(self._line.readline())


def _emulate(line: socket.socket, state: Path, seed: int) -> None:
    """Answer questions about the workspace until nobody asks any more."""
    from evalx_lepton.emulator import Emulator, EmulatorSettings
    from evalx_lepton.emulator.settings import Fault, ImageRule

    created: list[str] = []
    begun = 0
    _note_creations(created)
    _delay_creations(random.Random(seed))
    lost = [Fault("reset", "POST", path, when="after", probability=LOST_RATE) for path in ("/jobs", "/deployments", "/secrets")]
    images = (ImageRule("example.test/server*", (*SERVER, "{port}", "{served_model_name}")), ImageRule("example.test/eval*"))
    settings = EmulatorSettings(images=images, list_lag=LIST_LAG, grace=0.5, seed=seed, faults=tuple(lost))
    with Emulator(settings, state=state) as emulator, line.makefile("rw") as file:
        print(json.dumps(emulator.environment()), file=file, flush=True)
        for question in file:
            if question.strip() == "forget":
                begun = len(created)
            answer = created[begun:] if question.strip() != "alive" else _names(emulator.alive(), created)
            print(json.dumps(answer), file=file, flush=True)


def _names(alive: list[str], created: list[str]) -> list[str]:
    """Endpoints and jobs by the names they were created under, from what the emulator calls them."""
    found = []
    for kind, _, name in (entry.partition("/") for entry in alive):
        stem = name.rpartition("-")[0]
        found.append(f"secret/{name}" if kind == "secret" else stem if kind == "job" and stem in created else name)
    return found


def _note_creations(created: list[str]) -> None:
    from evalx_lepton.emulator import endpoint_routes, job_routes

    for module, kind in ((endpoint_routes, "Endpoint"), (job_routes, "Job")):
        original = getattr(module, kind)

        def make(*args: Any, original: Any = original, place: int = 1 if kind == "Endpoint" else 2) -> Any:
            created.append(args[place])
            return original(*args)

        setattr(module, kind, make)


def _delay_creations(dice: random.Random) -> None:
    from evalx_lepton.emulator.guard import Guard

    answer = Guard._answer

    async def late(self: Any, request: Any) -> Any:
        if request.method == "POST" and dice.random() < LATE_RATE:
            await request.body()  # the caller may be gone when it is read again
            await asyncio.sleep(dice.uniform(0.0, LATE))
        return await answer(self, request)

    Guard._answer = late  # type: ignore[method-assign]
