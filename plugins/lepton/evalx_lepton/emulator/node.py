"""The emulated node: a small process that starts the workloads, ends them, and sees to it that nothing of them is left.

It is a process of its own for three reasons. It has one thread, so it may do things between fork and exec (mounts) that a server with
threads may not. It adopts the orphans of everything below it, so a daemon that a job leaves behind is found. And it notices when the
emulator is gone, however that died, and takes the workloads along.

It talks JSON, one object a line, over a socket. In: {"start": id, argv, env, cwd, log, mounts}, {"stop": id, grace}. Out: {"ready":
why mounts are impossible, or ""}, {"started": id, pid}, {"ended": id, code}; 128 + n stands for signal n. Standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalx_lepton.emulator.mounting import Mount, enter, obstacle

PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG = 36, 1
MARK = "LEPTON_EMULATED"
"""Environment variable that carries a workload's id, by which its orphans are known."""

FINAL_GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL when the emulator itself ends."""

RECHECK = 0.05
"""Seconds until processes that were just killed are looked for again."""

NOT_STARTED = 127
"""Exit code of a workload whose program cannot be run, as of a shell."""

ENVIRONMENT_END = 48
"""Position in /proc/<pid>/stat, after the name, of the address at which the environment ends; 0 while there is none."""

FATAL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class _Workload:
    """A process started for the emulator. code: how its leader ended. deadline: when patience with it ends."""

    pid: int
    code: int | None = None
    deadline: float | None = None


@dataclass
class Node:
    """What runs, by id. scratch: an empty folder on which namespaces are built."""

    control: socket.socket
    scratch: str
    running: dict[str, _Workload] = field(default_factory=dict)
    _waiting: dict[int, str] = field(default_factory=dict)

    def serve(self) -> None:
        """Obey until the other side closes the socket, or SIGTERM; then end everything."""
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.control, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            pending, self.going = b"", True
            while self.going:
                ready = {key.fileobj for key, _ in selector.select(self._patience())}
                if wake in ready:
                    os.read(wake, 4096)
                if self.control in ready:
                    pending = self._obey(pending)
                self._look()
        self._end()

    def _obey(self, pending: bytes) -> bytes:
        with suppress(BlockingIOError):
            received = self.control.recv(1 << 20)
            if not received:
                self.going = False
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                self._handle(json.loads(line))
        return pending

    def _handle(self, order: dict[str, Any]) -> None:
        if name := order.get("start"):
            pid = self._spawn(order)
            self.running[name] = _Workload(pid)
            self._waiting[pid] = name
            self._say({"started": name, "pid": pid})
        elif found := self.running.get(order["stop"]):
            self._ask_to_end(found, order["grace"])

    def _spawn(self, order: dict[str, Any]) -> int:
        """A new process. It keeps signals waiting until it can die of them: one may be sent before it is what it shall be."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, FATAL)
        pid = os.fork()
        if pid == 0:
            _become(order, self.scratch)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _ask_to_end(self, workload: _Workload, grace: float) -> None:
        if workload.deadline is None and workload.code is None:
            workload.deadline = time.monotonic() + grace
            _signal_group(workload.pid, signal.SIGTERM)

    def _look(self) -> None:
        """Note who has ended, kill what they left, lose patience where it is due."""
        self._reap()
        ended = [name for name, workload in self.running.items() if workload.code is not None]
        for name in ended:
            if not _kill_orphans(name, self._waiting):
                self._say({"ended": name, "code": self.running.pop(name).code})
        now = time.monotonic()
        for workload in self.running.values():
            if workload.deadline is not None and workload.deadline <= now and workload.code is None:
                _signal_group(workload.pid, signal.SIGKILL)
                workload.deadline = now + FINAL_GRACE

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            # WNOWAIT: while the leader is a zombie its number, and so its group's, cannot be anybody else's.
            while child := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if name := self._waiting.pop(child.si_pid, None):
                    _signal_group(child.si_pid, signal.SIGKILL)
                    self.running[name].code = child.si_status if child.si_code == os.CLD_EXITED else 128 + child.si_status
                os.waitpid(child.si_pid, 0)

    def _patience(self) -> float | None:
        """Seconds until something is due without a signal to tell of it."""
        if any(workload.code is not None for workload in self.running.values()):
            return RECHECK
        deadlines = [workload.deadline for workload in self.running.values() if workload.deadline is not None]
        return max(min(deadlines) - time.monotonic(), 0.0) if deadlines else None

    def _end(self) -> None:
        for workload in self.running.values():
            self._ask_to_end(workload, FINAL_GRACE)
        deadline = time.monotonic() + FINAL_GRACE + 1
        while self.running and time.monotonic() < deadline:
            self._look()
            time.sleep(0.01)
        while _kill_children() and time.monotonic() < deadline + 1:
            self._reap()
            time.sleep(0.01)

    def _say(self, what: dict[str, Any]) -> None:
        with suppress(OSError):  # the emulator is gone: there is nobody to tell
            self.control.sendall(json.dumps(what).encode() + b"\n")


def _become(order: dict[str, Any], scratch: str) -> None:
    """In the child: turn into the workload. What goes wrong is told in its log, as a container runtime would."""
    try:
        os.setsid()
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _redirect(order["log"])
        for number in (*FATAL, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(order["cwd"])
        if order["mounts"]:
            enter([Mount(*mount) for mount in order["mounts"]], scratch)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606
    except BaseException as error:  # noqa: BLE001 -- a forked child must never run on as a second node
        os.write(2, f"cannot start {order['argv'][0]}: {error}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _signal_group(leader: int, number: signal.Signals) -> None:
    """leader: a child that has not been waited for, so nobody else has its number. A very young one has no group yet."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        os.kill(leader, number)
    except PermissionError:
        pass


def _kill_orphans(name: str, leaders: dict[int, str]) -> bool:
    """Kill what a workload left behind and was adopted. Their own children are adopted next: call again until it returns False."""
    mark = f"{MARK}={name}".encode()
    belongs = {pid: _bears(pid, mark) for pid in _children() if pid not in leaders}
    for pid in [pid for pid, bears in belongs.items() if bears]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return any(bears is not False for bears in belongs.values())


def _kill_children() -> bool:
    children = _children()
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(children)


def _children() -> list[int]:
    pid = os.getpid()
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _bears(pid: int, mark: bytes) -> bool | None:
    """Whether a child has the mark in its environment. None: that cannot be told just now, since it is ending (its own children will
    be adopted then), or about to run another program."""
    folder = Path(f"/proc/{pid}")
    try:
        content = (folder / "environ").read_bytes()
        if not content:
            facts = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            if facts[ENVIRONMENT_END] == b"0":
                return None
            content = (folder / "environ").read_bytes()  # it may have got its environment between the two looks
    except ProcessLookupError:
        return None
    except OSError:
        return False
    return mark in content.split(b"\0")


def main(descriptor: int, scratch: str) -> None:
    """Serve on an inherited socket."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    control = socket.socket(fileno=descriptor)
    node = Node(control, scratch)

    def stop(_number: int, _frame: object) -> None:
        node.going = False

    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    node._say({"ready": obstacle(scratch)})
    node.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
