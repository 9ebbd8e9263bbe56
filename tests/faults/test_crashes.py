"""`kill -9` of evalx at any moment: afterwards `resume` finishes what is left to do, and `cleanup` leaves nothing alive."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.enable_socket


@pytest.mark.parametrize("command", ["resume", "cleanup"])
def test_a_command_that_kills_itself(lab: Any, command: str) -> None:
    """As installed, without a laboratory around it; what dies where in every other way is told by test_seeds.py."""
    lab.crash("result.written:1", "run", lab.config(lab.task("first"), lab.task("second"), max_tasks=1), "--display", "none")
    assert lab.alive()
    done = lab.evalx(command, "last")
    assert done.code == 0 and not lab.alive()
    assert lab.evalx("results", "last").out.splitlines()[1].split()[:3] == ["first", "accuracy", "0.5000"]
    assert lab.begun().count("first") == 1


def test_a_task_that_survives_the_crash_is_adopted(lab: Any) -> None:
    name = lab.config(lab.task("first"), lab.task("second", str(lab.gate)), lab.task("third"), max_tasks=2)
    process = lab.start("run", name, "--display", "none")
    for task in ("first", "third"):
        lab.until_event("scored", task)
    lab.until_event("running", "second")
    process.kill()
    process.communicate(timeout=10)
    server = lab.server()
    resumed = lab.start("resume", "last", "--display", "none")
    lab.until(lambda: [event["state"] for event in lab.events()].count("active") == 2)
    assert lab.server() == server, "the endpoint is adopted as well"
    lab.gate.touch()
    done = lab.end(resumed)
    assert done.code == 0 and lab.begun() == ["first", "second", "third"]
    assert not lab.alive()


def test_what_was_finished_while_nobody_looked_is_kept(lab: Any) -> None:
    process = lab.start("run", lab.config(lab.task("only", str(lab.gate))), "--display", "none")
    lab.until_event("running", "only")
    process.kill()
    process.communicate(timeout=10)
    lab.gate.touch()
    lab.until(lambda: list(lab.folder.glob("evalx-runs/*/tasks/*/exit_code")))
    done = lab.evalx("cleanup", "last")
    assert done.code == 0 and not lab.alive()
    assert "accuracy  0.5000" in lab.evalx("results", "last").out
    assert lab.begun() == ["only"]


def test_crash_after_crash(lab: Any) -> None:
    """Resume, killed again and again, goes on from where the last one was."""
    name = lab.config(*(lab.task(f"task{number}") for number in range(4)), max_tasks=1)
    lab.crash("result.stored:1", "run", name, "--display", "none")
    lab.crash("result.stored:1", "resume", "last", "--display", "none")
    lab.crash("executor.delete.after:1", "cleanup", "last")
    done = lab.evalx("resume", "last", "--display", "none")
    assert done.code == 0 and not lab.alive()
    assert {name: lab.begun().count(name) for name in lab.begun()} == {"task0": 1, "task1": 1, "task2": 1, "task3": 1}


def test_a_crash_of_the_whole_machine(lab: Any) -> None:
    """With evalx died its server and a task: one resume is enough."""
    name = lab.config(lab.task("first"), lab.task("second", str(lab.gate)), lab.task("third"), max_tasks=1)
    process = lab.start("run", name, "--display", "none")
    lab.until_event("running", "second")
    lab.until(lambda: "second" in lab.begun())
    for pid in [process.pid, *lab.alive()]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=10)
    lab.gate.touch()
    done = lab.evalx("resume", "last", "--display", "none")
    assert done.code == 0, done.err
    assert lab.begun() == ["first", "second", "second", "third"] and not lab.alive()


def test_a_worker_without_marks_goes_after_its_server_was_killed(lab: Any) -> None:
    """As with servers that overwrite their workers' environment: neither marks nor a live session's leader lead to it."""
    script = 'env -i sleep 600 & echo $! > "$0"; exec "$@"'
    number = lab.folder / "worker"
    argv = ["sh", "-c", script, str(number), sys.executable, str(lab.stub), "--port", "{port}"]
    process = lab.start("run", lab.config(lab.task("only", str(lab.gate)), deployment={"argv": argv}), "--display", "none")
    lab.until_event("running", "only")
    os.kill(lab.server(), signal.SIGKILL)
    lab.until(lambda: list(lab.folder.glob("evalx-runs/*/endpoints/*/exit_code")))
    worker = psutil.Process(int(number.read_text()))
    lab.gate.touch()
    lab.end(process)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("command", ["resume", "cleanup"])
def test_what_cannot_begin_still_says_that_something_is_alive(lab: Any, command: str) -> None:
    lab.crash("create.recorded:1", "run", lab.config(lab.task("first")))
    assert lab.alive()
    failing = {**lab.environment, "EVALX_FAILPOINT": "lease.taken:1:raise"}
    assert lab.evalx(command, "last", env=failing).code == 7
    assert lab.evalx("cleanup", "last").code == 0 and not lab.alive()
