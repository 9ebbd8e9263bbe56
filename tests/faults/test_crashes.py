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

CRASHES = [
    ("evalx.store:Store.create", "before", 1),
    ("evalx.store:Store.create", "after", 1),
    ("evalx.ledger:Ledger.intend", "before", 1),
    ("evalx.ledger:Ledger.intend", "after", 1),
    ("evalx_local.processes:_spawn", "before", 1),
    ("evalx_local.processes:_spawn", "after", 1),
    ("evalx.ledger:Ledger.created", "before", 1),
    ("evalx.ledger:Ledger.created", "after", 1),
    ("evalx_local.executor:LocalExecutor.wait_ready", "before", 2),
    ("evalx.ledger:Ledger.intend", "after", 2),
    ("evalx_local.processes:_spawn", "after", 2),
    ("evalx.ledger:Ledger.created", "after", 2),
    ("evalx.ledger:Ledger.running", "after", 1),
    ("evalx.ledger:Ledger.keep", "before", 1),
    ("evalx.results.store:_sync_folder", "after", 1),
    ("evalx.ledger:Ledger.keep", "after", 1),
    ("evalx_local.processes:ProcessRuntime.stop", "before", 1),
    ("evalx_local.processes:ProcessRuntime.stop", "after", 1),
    ("evalx.ledger:Ledger.keep", "after", 2),
    ("evalx_local.processes:ProcessRuntime.stop", "after", 3),
    ("evalx.driver:Driver._teardown", "before", 1),
]
"""Calls 1 and 2 of `intend`, `_spawn` and `created` are for the endpoint and the first task."""

names = [f"{place.rpartition('.')[2].replace(':', '-')}-{moment}-{hit}" for place, moment, hit in CRASHES]


@pytest.fixture(params=CRASHES, ids=names)
def crashed(request: Any, lab: Any) -> Any:
    """A laboratory whose run of two tasks, one after the other, was killed."""
    place, moment, hit = request.param
    lab.crash(place, moment, hit, "run", lab.config(lab.task("first"), lab.task("second"), max_tasks=1), "--display", "none")
    return lab


def test_cleanup_after_a_crash_leaves_nothing(crashed: Any) -> None:
    if not list(crashed.folder.glob("evalx-runs/*/plan.json")):
        assert crashed.evalx("cleanup", "last").code == 2 and not crashed.alive()
        return
    done = crashed.evalx("cleanup", "last")
    assert done.code == 0 and "nothing left alive" in done.err
    assert not crashed.alive()
    again = crashed.evalx("cleanup", "last")
    assert again.code == 0 and not crashed.alive()


def test_resume_after_a_crash_does_the_rest(crashed: Any) -> None:
    if not list(crashed.folder.glob("evalx-runs/*/plan.json")):
        assert crashed.evalx("resume", "last").code == 2 and not crashed.begun()
        return
    scored = [event["name"] for event in crashed.events() if event["state"] == "scored"]
    done = crashed.evalx("resume", "last", "--display", "none")
    assert done.code == 0
    assert [row.split()[:2] for row in done.out.splitlines()[1:]] == [["first", "accuracy"], ["second", "accuracy"]]
    assert all(crashed.begun().count(name) == 1 for name in scored), "a finished task must not run again"
    assert not crashed.alive()


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
    lab.crash("evalx.ledger:Ledger.keep", "after", 1, "run", name, "--display", "none")
    lab.crash("evalx.ledger:Ledger.keep", "after", 1, "resume", "last", "--display", "none")
    lab.crash("evalx_local.processes:ProcessRuntime.stop", "after", 1, "cleanup", "last")
    done = lab.evalx("resume", "last", "--display", "none")
    assert done.code == 0 and not lab.alive()
    assert {name: lab.begun().count(name) for name in lab.begun()} == {"task0": 1, "task1": 1, "task2": 1, "task3": 1}


def test_a_crash_of_the_whole_machine(lab: Any) -> None:
    """With evalx died its server and a task: one resume is enough."""
    name = lab.config(lab.task("first"), lab.task("second", str(lab.gate)), lab.task("third"), max_tasks=1)
    process = lab.start("run", name, "--display", "none")
    lab.until_event("running", "second")
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
