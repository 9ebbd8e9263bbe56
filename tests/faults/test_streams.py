"""Results on stdout, everything else on stderr; `--json` is JSON whatever happens; readers and writers that are not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evalx.interrupts import ECHO

pytestmark = pytest.mark.enable_socket

NO_ECHO = 2 * ECHO

LOOKING = [
    ("status", "last"),
    ("ls",),
    ("results", "last"),
    ("tasks", "ls"),
    ("tasks", "show", "ifeval"),
    ("plugins", "ls"),
    ("plugins", "show", "local"),
    ("plan", "c.yaml"),
    ("config", "show", "c.yaml"),
    ("watch", "last"),
    ("cleanup", "last"),
    ("cleanup", "--all-runs"),
    ("cancel", "last"),
    ("resume", "last"),
]
MISTAKEN = [
    ("run", "missing.yaml"),
    ("run",),
    ("plan", "missing.yaml"),
    ("status", "nosuchrun"),
    ("results", "nosuchrun"),
    ("resume", "nosuchrun"),
    ("cancel", "nosuchrun"),
    ("cleanup", "nosuchrun"),
    ("watch", "nosuchrun"),
    ("tasks", "show", "mmlu_proo"),
    ("plugins", "show", "locale"),
    ("config", "show", "missing.yaml"),
    ("ls", "--no-such-option"),
    ("nonsense",),
]


def test_json_is_json(lab: Any) -> None:
    name = lab.config(lab.task("first"), lab.shell("broken", "exit 1"))
    done = lab.evalx("run", name, "--json")
    assert done.code == 1 and done.json["schema"] == 1 and done.json["exit_code"] == 1
    assert "first   scored" in done.err
    for command in LOOKING:
        found = lab.evalx(*command, "--json")
        assert found.json["schema"] == 1, command
        assert "error" not in found.json, (command, found.out)


def test_json_is_json_when_it_fails(lab: Any) -> None:
    for command in MISTAKEN:
        found = lab.evalx(*command, "--json")
        assert found.code == 2 and found.json["schema"] == 1, (command, found)
        assert found.json["error"]["exit_code"] == 2 and found.json["error"]["message"], command


def test_json_is_json_when_the_state_cannot_be_used(lab: Any) -> None:
    (lab.folder / "file").touch()
    name = lab.config(lab.task("first"))
    given = {**lab.environment, "EVALX_STATE_DIR": str(lab.folder / "file" / "state")}
    for command in (("run", name), ("ls",), ("status", "last"), ("resume", "last"), ("cleanup", "last")):
        found = lab.evalx(*command, "--json", env=given)
        assert found.code == 70 and found.json["error"]["type"] == "StoreError" and found.json["error"]["hint"], command


def test_scores_go_to_stdout_and_nothing_else(lab: Any) -> None:
    name = lab.config(lab.task("first"))
    done = lab.evalx("run", name)
    assert [line.split()[0] for line in done.out.splitlines()] == ["task", "first"]
    quiet = lab.evalx("run", name, "-q")
    assert quiet.out.splitlines()[1].startswith("first  accuracy") and "running" not in quiet.err


def test_a_reader_that_leaves(lab: Any) -> None:
    lab.evalx("run", lab.config(lab.task("first")))
    for command in (("ls",), ("tasks", "ls"), ("results", "last", "--json"), ("--help",)):
        process = lab.start(*command)
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 141) and not err, command


def test_a_run_whose_reader_leaves_still_cleans_up(lab: Any) -> None:
    read, write = os.pipe()
    process = lab.start("run", lab.config(lab.task("first")), stdout=write, stderr=write)
    os.close(write)
    os.close(read)
    process.communicate(timeout=60)
    assert lab.until(lambda: not lab.alive())
    assert lab.evalx("results", "last").out.splitlines()[1].startswith("first  accuracy")


def full() -> Any:
    return Path("/dev/full").open("w")


def test_results_that_nobody_can_write_down(lab: Any) -> None:
    """A full disk under stdout: one sentence, nothing left alive, and the scores can be asked for again."""
    name = lab.config(lab.task("first"))
    for command in (("run", name), ("run", name, "--json"), ("ls",), ("results", "last", "--json"), ("--help",)):
        with full() as out:
            done = lab.evalx(*command, stdout=out)
        assert done.code == 70 and done.err.count("error: ") == 1, (command, done)
        assert "error: cannot write to stdout: No space left on device\n hint: " in done.err, command
    assert not lab.alive() and not (lab.state / "crashes").exists()
    assert lab.evalx("results", "last").out.splitlines()[1].startswith("first  accuracy")


def test_what_may_be_alive_wins_over_results_that_are_lost(lab: Any) -> None:
    stuck = {**lab.environment, "EVALX_FAILPOINT": "hook.cleanup.before:1:hang"}
    with full() as out:
        process = lab.start("run", lab.config(lab.task("first", str(lab.gate))), "--json", stdout=out, env=stuck)
    lab.until_event("running", "first")
    process.send_signal(signal.SIGINT)
    lab.until_event("deleting", "model")
    time.sleep(NO_ECHO)
    process.send_signal(signal.SIGINT)
    done = lab.end(process)
    assert done.code == 7 and f"No space left on device\n hint: something may be alive: evalx cleanup {lab.run_id}" in done.err


def test_a_pipe_that_does_not_wait_for_its_reader(lab: Any) -> None:
    """As programs that began with asynchronous output leave it to those that they start."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    process = lab.start("tasks", "ls", "--json", stdout=write, stderr=write)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    assert lab.end(process).code == 0 and len(text) > 100_000 and json.loads(text)["schema"] == 1


def test_messages_that_nobody_can_read(lab: Any) -> None:
    """A full disk under stderr, or a reader who left, takes the messages; the results and the exit code are what they are."""
    name = lab.config(lab.task("first"))
    read, left = os.pipe()
    os.close(read)
    with full() as out:
        for err in (out, left):
            done = lab.evalx("run", name, stderr=err)
            assert done.code == 0 and done.out.splitlines()[1].startswith("first  accuracy")
            assert lab.evalx("status", "nosuchrun", stderr=err).code == 2
    os.close(left)
    assert not lab.alive()


def test_without_any_streams(lab: Any) -> None:
    """As under a daemon that closes the three of them."""
    name = lab.config(lab.task("first"))
    script = f"exec {sys.executable} -m evalx.cli run {name} <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", script], cwd=lab.folder, env=lab.environment, timeout=60)
    assert done.returncode == 0 and not lab.alive()
    assert json.loads(lab.evalx("results", "last", "--json").out)["results"][0]["outcome"] == "passed"
