"""Starts and ends processes through the node, from the emulator's event loop."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from evalx_lepton.emulator.mounting import Mount
from evalx_lepton.emulator.node import MARK

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from evalx_lepton.emulator.node import main; main(int(sys.argv[2]), sys.argv[3])"
_LINE_LIMIT = 16 << 20
_PATIENCE = 5.0


@frozen
class Launch:
    """What is to run. log: the file to append its output to. mounts: need a namespace, see `Processes.can_mount`."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    mounts: Sequence[Mount] = ()


@define
class Processes:
    """The live processes, by id. no_mounts: why folders cannot be mounted here; empty if they can."""

    pids: dict[str, int] = field(factory=dict)
    no_mounts: str = ""
    _on_end: dict[str, Callable[[int], None]] = field(factory=dict)
    _node: subprocess.Popen[bytes] | None = None
    _writer: asyncio.StreamWriter | None = None
    _listener: asyncio.Task[None] | None = None

    async def open(self, scratch: Path) -> None:
        """Start the node. scratch: a folder that nothing else uses."""
        scratch.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        with theirs:
            self._node = _start_node(theirs, scratch)
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LINE_LIMIT)
        self.no_mounts = json.loads(await reader.readline())["ready"]
        self._listener = asyncio.create_task(self._listen(reader))

    def launch(self, name: str, what: Launch, on_end: Callable[[int], None]) -> None:
        """Start a process. on_end: called with its exit code (128 + n for signal n) once it and all its children are gone."""
        self._on_end[name] = on_end
        env = {**what.env, MARK: name}
        place = {"cwd": str(what.cwd), "log": str(what.log), "mounts": list(what.mounts)}
        self._order({"start": name, "argv": list(what.argv), "env": env, **place})

    def stop(self, name: str, grace: float) -> None:
        """SIGTERM to its group, and SIGKILL after `grace` seconds; `on_end` tells when it is over."""
        self._order({"stop": name, "grace": grace})

    async def close(self) -> None:
        """End every process and the node."""
        if self._writer is not None:
            self._writer.close()
        if self._listener is not None:
            self._listener.cancel()
        if self._node is not None:
            await asyncio.to_thread(_await_end, self._node)
        self.pids.clear()

    def _order(self, order: dict[str, Any]) -> None:
        assert self._writer is not None, "the node is not running"
        self._writer.write(json.dumps(order).encode() + b"\n")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            said = json.loads(line)
            if name := said.get("started"):
                self.pids[name] = said["pid"]
            else:
                self.pids.pop(said["ended"], None)
                self._on_end.pop(said["ended"])(said["code"])


def _start_node(control: socket.socket, scratch: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C in a terminal reaches the emulator only, which then ends it in order."""
    root = str(Path(__file__).parents[2])
    argv = [sys.executable, "-E", "-s", "-S", "-c", _BOOT, root, str(control.fileno()), str(scratch)]
    return subprocess.Popen(argv, pass_fds=[control.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)


def _await_end(node: subprocess.Popen[bytes]) -> None:
    try:
        node.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()
