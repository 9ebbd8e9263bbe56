"""Runs that outlive their terminal: `--detach`, detaching from a running one, and a terminal that is closed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest

pytestmark = pytest.mark.enable_socket

QUESTION = r"\[s\]top and delete 1 endpoint, \[d\]etach, \[c\]ontinue\?"


@pytest.fixture
def name(lab: Any) -> str:
    """A config with a finished and an endless task."""
    return str(lab.config(lab.task("first"), lab.task("endless", str(lab.gate)), max_tasks=1))


@pytest.fixture
def terminal(lab: Any) -> Iterator[Callable[..., Any]]:
    """Starts the command line on a terminal of its own."""
    children = []

    def start(*args: str, python: tuple[str, ...] = ("-m", "evalx.cli")) -> Any:
        environment = {**lab.environment, "TERM": "xterm", "COLUMNS": "100"}
        argv = [*python, *args]
        children.append(pexpect.spawn(sys.executable, argv, cwd=lab.folder, env=environment, encoding="utf-8", timeout=60))
        return children[-1]

    yield start
    for child in children:
        if not child.closed:
            child.close(force=True)


def ended(child: Any) -> int | None:
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


def log(lab: Any) -> str:
    return (Path(json.loads(lab.evalx("status", "last", "--json").out)["directory"]) / "evalx.log").read_text()


def holder(lab: Any) -> Any:
    return lab.evalx("status", "last", "--json").json["holder"]


def creates(lab: Any) -> list[str]:
    """Everything that was asked for, once for each time."""
    return sorted(event["data"]["resource"] for event in lab.events() if event["state"] == "intent")


# ---------------------------------------------------------------------- run --detach


def test_a_detached_run_goes_on_and_is_watched(lab: Any, name: str) -> None:
    started = lab.evalx("run", name, "--detach")
    assert started.code == 0 and started.out == ""
    assert f"evalx watch {lab.run_id}" in started.err and f"evalx cancel {lab.run_id}" in started.err
    lab.until_event("running", "endless")
    pid = holder(lab)["pid"]
    assert os.getsid(pid) == pid and psutil.Process(pid).terminal() is None
    watcher = lab.start("watch", "last", "--display", "plain")
    lab.gate.touch()
    watched = lab.end(watcher)
    assert watched.code == 0 and "endless  accuracy" in watched.out
    assert "endless  scored" in log(lab) and not lab.alive()


def test_a_detached_run_is_cancelled(lab: Any, name: str) -> None:
    started = lab.evalx("run", name, "--detach", "--json")
    lab.until_event("running", "endless")
    assert started.json["run_id"] == lab.run_id and started.json["supervisor"] == holder(lab)["pid"]
    assert lab.evalx("cancel", "last").code == 0 and not lab.alive()
    assert lab.evalx("status", "last", "--exit-status").code == 143


def test_a_detached_run_outlives_the_session_that_it_was_started_in(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    child = terminal("run", name, "--detach")
    assert ended(child) == 0
    child.close()
    lab.until_event("running", "endless")
    assert holder(lab)["alive"]
    lab.gate.touch()
    assert lab.evalx("watch", "last").code == 0


def test_what_goes_wrong_before_a_detached_run_is_registered_is_shown(lab: Any, name: str) -> None:
    missing = lab.evalx("run", "nosuch.yaml", "--detach")
    assert missing.code == 2 and "error: no file 'nosuch.yaml'" in missing.err
    refused = lab.evalx("run", name, "--detach", "deployment.argv=[/no/such/server]")
    assert refused.code == 2 and "/no/such/server" in refused.err
    as_json = lab.evalx("run", "nosuch.yaml", "--detach", "--json")
    assert as_json.code == 2 and as_json.json["error"]["exit_code"] == 2
    unusable = lab.folder / "unusable"
    unusable.touch()
    assert lab.evalx("run", name, "--detach", env={**lab.environment, "EVALX_STATE_DIR": str(unusable)}).code == 70


def test_an_interrupted_run_is_resumed_in_the_background(lab: Any, name: str) -> None:
    process = lab.start("run", name)
    lab.until_event("running", "endless")
    process.kill()
    process.communicate(timeout=60)
    assert lab.evalx("resume", "last", "--detach").code == 0
    busy = lab.evalx("resume", "last", "--detach")
    assert busy.code == 75 and f"process {holder(lab)['pid']}" in busy.err
    lab.gate.touch()
    assert lab.evalx("watch", "last").code == 0
    assert lab.begun() == ["endless", "first"]


# ---------------------------------------------------------------------- Ctrl-C asks


@pytest.mark.parametrize("display", ["live", "none"])
def test_ctrl_c_asks_and_the_answer_is_detach(lab: Any, name: str, terminal: Callable[..., Any], display: str) -> None:
    child = terminal("run", name, "--display", display)
    lab.until_event("running", "endless")
    before = creates(lab)
    child.sendintr()
    child.expect(QUESTION)
    child.send("d")
    child.expect(r"goes on in the background, process (\d+)")
    successor = int(child.match[1])
    assert ended(child) == 0 and holder(lab)["pid"] == successor
    lab.gate.touch()
    assert lab.evalx("watch", "last").code == 0
    assert lab.begun() == ["endless", "first"] and creates(lab) == before, "nothing is created twice"
    assert not lab.alive()


def test_ctrl_c_asks_and_the_answer_is_to_go_on(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    child = terminal("run", name, "--display", "plain")
    child.expect("Ctrl-C asks: stop and delete 1 endpoint, detach, or go on")
    lab.until_event("running", "endless")
    child.sendintr()
    child.expect(QUESTION)
    child.send("xc")
    lab.gate.touch()
    assert ended(child) == 0
    assert not any(event["state"] == "cancelling" for event in lab.events())


@pytest.mark.parametrize("answer", ["s", "\x03"])
def test_ctrl_c_asks_and_the_answer_is_to_stop(lab: Any, name: str, terminal: Callable[..., Any], answer: str) -> None:
    child = terminal("run", name, "--display", "plain")
    lab.until_event("running", "endless")
    child.sendintr()
    child.expect(QUESTION)
    child.send(answer)
    child.expect("nothing left alive")
    assert ended(child) == 130 and not lab.alive()


def test_no_answer_is_to_stop(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    hasty = "import sys, evalx.cli, evalx.cli.terminal as t; t.PATIENCE = 0.5; evalx.cli.main(sys.argv[1:])"
    child = terminal("run", name, "--display", "plain", python=("-c", hasty))
    lab.until_event("running", "endless")
    child.sendintr()
    child.expect(r"\(stops in 0.5 s\)")
    assert ended(child) == 130 and not lab.alive()


def test_a_run_that_ends_while_the_question_stands(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    child = terminal("run", name, "--display", "plain")
    lab.until_event("running", "endless")
    child.sendintr()
    child.expect(QUESTION)
    assert not child.getecho()
    lab.gate.touch()
    child.expect("succeeded")
    assert ended(child) == 0


def test_there_is_no_place_for_the_words_of_a_detached_run(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    child = terminal("run", name, "--display", "plain")
    lab.until_event("running", "endless")
    (lab.folder / "evalx-runs" / lab.run_id / "evalx.log").mkdir()
    child.sendintr()
    child.expect(QUESTION)
    child.send("d")
    assert ended(child) == 0 and holder(lab)["alive"]
    assert lab.evalx("cancel", "last").code == 0 and not lab.alive()


# ---------------------------------------------------------------------- the terminal is closed


def test_a_terminal_that_is_closed_does_not_end_the_run(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    child = terminal("run", name, "--display", "live")
    lab.until_event("running", "endless")
    os.close(child.child_fd)
    lab.until(lambda: any("the terminal is gone" in (event["reason"] or "") for event in lab.events()))
    assert holder(lab)["pid"] == child.pid and holder(lab)["alive"]
    os.kill(child.pid, signal.SIGHUP)  # what a shell sends when it ends is not meant for it any more
    lab.gate.touch()
    child.wait()
    assert child.exitstatus == 0
    said = log(lab)
    assert "endless  scored" in said and "2 of 2 tasks scored, nothing left alive" in said and "Traceback" not in said
    child.closed = True


def test_closing_the_terminal_while_the_question_stands_is_to_go_on(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    child = terminal("run", name, "--display", "plain")
    lab.until_event("running", "endless")
    child.sendintr()
    child.expect(QUESTION)
    os.close(child.child_fd)
    lab.until(lambda: any("the terminal is gone" in (event["reason"] or "") for event in lab.events()))
    lab.gate.touch()
    child.wait()
    assert child.exitstatus == 0
    child.closed = True


def test_sighup_to_a_run_whose_terminal_is_there_stops_it(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    child = terminal("run", name, "--display", "plain")
    lab.until_event("running", "endless")
    os.kill(child.pid, signal.SIGHUP)
    child.expect("interrupted by SIGHUP")
    assert ended(child) == 129 and not lab.alive()


def test_a_run_that_nobody_takes_over(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    """The successor does not start: what is alive is told, and it can be resumed."""
    broken = "import sys, evalx.cli as c; from evalx.cli import supervisor; sys.executable = '/bin/false'; c.main(sys.argv[1:])"
    child = terminal("run", name, "--display", "plain", python=("-c", broken))
    lab.until_event("running", "endless")
    child.sendintr()
    child.expect(QUESTION)
    child.send("d")
    child.expect("no process goes on with run")
    child.expect(f"evalx resume {lab.run_id}")
    assert ended(child) == 7 and lab.alive()
    lab.gate.touch()
    assert lab.evalx("resume", "last").code == 0 and lab.begun() == ["endless", "first"]


def test_cleaning_up_goes_on_when_its_terminal_is_closed(lab: Any, name: str, terminal: Callable[..., Any]) -> None:
    slow = lab.start("run", lab.config(lab.shell("deaf", "trap '' TERM; while :; do sleep 0.1; done")))
    lab.until_event("running", "deaf")
    slow.kill()
    slow.communicate(timeout=60)
    child = terminal("cleanup", "last")
    lab.until_event("deleting")
    os.close(child.child_fd)
    child.wait()
    assert child.exitstatus == 0 and not lab.alive() and "nothing left alive" in log(lab)
    child.closed = True
