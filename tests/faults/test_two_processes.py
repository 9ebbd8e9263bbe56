"""Two processes and one run: one owns it; the other says who does, or ends the run through it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def live(lab: Any) -> Any:
    """A process that is in the middle of a run of a finished and an endless task."""
    process = lab.start("run", lab.config(lab.task("first"), lab.task("endless", str(lab.gate)), max_tasks=1), "--display", "plain")
    lab.until_event("running", "endless")
    return process


@pytest.mark.parametrize("command", ["resume", "cleanup"])
def test_a_run_that_is_owned_is_refused(lab: Any, live: Any, command: str) -> None:
    for frozen in (False, True):
        if frozen:
            os.kill(live.pid, signal.SIGSTOP)
        done = lab.evalx(command, "last")
        assert done.code == 75 and f"is owned by process {live.pid}, which is alive" in done.err
        hint = f"kill -CONT {live.pid} lets it go on; evalx cancel" if frozen else "wait for it, or: evalx cancel"
        assert f"hint: {hint} {lab.run_id}" in done.err
        assert (f"kill -CONT {live.pid}" in lab.evalx("status", "last").out) is frozen
    os.kill(live.pid, signal.SIGCONT)
    lab.gate.touch()
    assert lab.end(live).code == 0 and lab.begun() == ["endless", "first"]


def test_many_rescuers_one_owner(lab: Any, live: Any) -> None:
    live.kill()
    live.communicate(timeout=10)
    rescuers = [lab.start("resume", "last", "--display", "none") for _ in range(3)]
    lab.until(lambda: sum(process.poll() is not None for process in rescuers) == 2)
    lab.gate.touch()
    assert sorted(lab.end(process).code for process in rescuers) == [0, 75, 75]
    assert lab.begun() == ["endless", "first"] and not lab.alive()


def test_cancel_from_another_shell(lab: Any, live: Any) -> None:
    done = lab.evalx("cancel", "last")
    assert done.code == 0 and "nothing left alive" in done.err
    first = lab.end(live)
    assert first.code == 143 and "cancelled (interrupted by SIGTERM)" in first.err
    assert not lab.alive()
    assert [row.split()[:2] for row in first.out.splitlines()[1:]] == [["first", "accuracy"], ["endless", "cancelled"]]
    assert lab.evalx("cancel", "last").code == 0, "it can be said again"


def test_cancel_of_a_process_that_is_stopped(lab: Any, live: Any) -> None:
    os.kill(live.pid, signal.SIGSTOP)
    lab.until(lambda: lab.evalx("status", "last", "--json").json["holder"]["stopped"])
    done = lab.evalx("cancel", "last")
    assert done.code == 0 and f"process {live.pid} was stopped (by SIGSTOP or Ctrl-Z); it is continued" in done.err
    assert lab.end(live).code == 143 and not lab.alive()
    assert lab.evalx("status", "last", "--exit-status").code == 143, "how it ended stays"


@pytest.mark.parametrize("frozen", [False, True])
def test_cancel_now(lab: Any, live: Any, frozen: bool) -> None:
    if frozen:
        os.kill(live.pid, signal.SIGSTOP)
    done = lab.evalx("cancel", "last", "--now")
    assert done.code == 0 and not lab.alive()
    assert lab.end(live).code == -signal.SIGKILL
    assert "first  " in lab.evalx("results", "last").out


def test_a_cancelled_run_can_be_resumed(lab: Any, live: Any) -> None:
    assert lab.evalx("cancel", "last").code == 0
    lab.end(live)
    lab.gate.touch()
    done = lab.evalx("resume", "last", "--display", "none")
    assert done.code == 0 and not lab.alive()
    assert lab.begun() == ["endless", "endless", "first"]
