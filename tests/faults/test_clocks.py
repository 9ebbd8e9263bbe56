"""The clock of the machine is set by hours while a run is under way, or while nobody drives it: nothing is lost, nothing ends too early."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytestmark = pytest.mark.enable_socket

CLOCK = """
import os, sys, time
real, by, begun = time.time, float(sys.argv.pop(1)), sys.argv.pop(1)
time.time = lambda: real() + (by if os.path.exists(begun) else 0.0)
time.time_ns = lambda: int(time.time() * 10**9)
from evalx.cli import main
main(sys.argv[1:])
"""
"""evalx under a clock that is set by so many seconds as soon as a file is there.   SECONDS FILE ARGUMENTS…"""


def shifted(lab: Any, by: float) -> tuple[str, ...]:
    return ("-c", CLOCK, str(by), str(lab.folder / "jump"))


@pytest.mark.parametrize("by", [-5 * 3600.0, 5 * 3600.0], ids=["back", "forward"])
def test_set_while_a_task_runs(lab: Any, by: float) -> None:
    name = lab.config(lab.task("first", str(lab.gate)), lab.task("second"), max_tasks=1, max_duration=3600, no_progress_timeout=3600)
    process = lab.start("run", name, "--display", "plain", argv=shifted(lab, by))
    lab.until_event("running", "first")
    (lab.folder / "jump").touch()
    lab.gate.touch()
    done = lab.end(process)
    assert done.code == 0 and not lab.alive(), done.err
    assert lab.begun() == ["first", "second"]
    shown = done.out + done.err + "".join(lab.evalx(*args).out for args in (("ls",), ("status", "last"), ("results", "last")))
    assert not re.search(r"(?<![\w-])-\d+(\.\d+)?(s|m|h|d|\b)", shown), shown


@pytest.mark.parametrize("by", [-5 * 3600.0, 5 * 3600.0], ids=["back", "forward"])
def test_set_before_the_run_is_resumed(lab: Any, by: float) -> None:
    """What runs is found again and not started twice, and the run's time is not over."""
    name = lab.config(lab.task("first", str(lab.gate)), max_duration=3600)
    process = lab.start("run", name, "--display", "none")
    lab.until_event("running", "first")
    process.kill()
    process.wait()
    (lab.folder / "jump").touch()
    process = lab.start("resume", "last", "--display", "none", argv=shifted(lab, by))
    lab.until(lambda: sum(event["state"] == "active" for event in lab.events()) == 2)
    lab.gate.touch()
    done = lab.end(process)
    assert done.code == 0 and lab.begun() == ["first"] and not lab.alive(), done.err
