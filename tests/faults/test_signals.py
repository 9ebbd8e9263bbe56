"""SIGINT, SIGTERM and SIGHUP at every stage: the run ends in order; a second one ends the waiting, and says what is left."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evalx.interrupts import ECHO

pytestmark = pytest.mark.enable_socket

NO_ECHO = 2 * ECHO
"""Seconds after which a signal certainly is one of its own."""

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


@pytest.mark.parametrize(
    ("stage", "number", "code"), [("deploy", signal.SIGINT, 130), ("wait_ready", signal.SIGTERM, 143), ("run", signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_run_in_order(lab: Any, stage: str, number: signal.Signals, code: int) -> None:
    """With real processes; every hook with every signal is in test_signal_matrix.py."""
    never = ("--ready-after", "-1") if stage == "wait_ready" else ()
    name = lab.config(lab.task("first"), lab.task("endless", str(lab.gate)), server=never, max_tasks=1)
    process = lab.start("run", name, "--display", "plain")
    state, subject = {"deploy": ("intent", "model"), "wait_ready": ("starting", ""), "run": ("running", "endless")}[stage]
    if stage == "wait_ready":
        lab.until(lambda: any(event["kind"] == "progress" for event in lab.events()))
    else:
        lab.until_event(state, subject)
    process.send_signal(number)
    done = lab.end(process)
    assert done.code == code
    assert f"cancelled (interrupted by {number.name})" in done.err and "nothing left alive" in done.err
    assert not lab.alive()
    if stage == "run":
        assert [row.split()[:2] for row in done.out.splitlines()[1:]] == [["first", "accuracy"], ["endless", "cancelled"]]


def test_a_lost_terminal_does_not_end_what_was_started_with_nohup(lab: Any) -> None:
    name = lab.config(lab.task("only", str(lab.gate)))
    process = lab.start("run", name, "--display", "none", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    lab.until_event("running", "only")
    process.send_signal(signal.SIGHUP)
    lab.gate.touch()
    assert lab.end(process).code == 0 and not lab.alive()


def test_a_signal_before_anything_was_created(lab: Any) -> None:
    """While the config is composed there is nothing to delete: the process just ends."""
    process = lab.start("run", lab.config(lab.task("first")))
    process.send_signal(signal.SIGTERM)
    assert lab.end(process).code in (143, -signal.SIGTERM)
    assert not lab.alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_command_line_is_imported(lab: Any, tmp_path: Path, number: signal.Signals) -> None:
    """It ends with the signal, and not with Python's account of where its imports had got to."""
    (tmp_path / "click.py").write_text(f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(30)\n")
    for argv in (("-m", "evalx.cli"), ("-c", "from evalx.cli import main; main()")):
        done = lab.evalx("ls", argv=argv, env={**lab.environment, "PYTHONPATH": str(tmp_path)})
        assert (done.code, done.err) == (-number, "")


def test_the_second_signal_ends_the_waiting(lab: Any) -> None:
    deaf = {"argv": [sys.executable, "-c", STUBBORN], "health_path": None}
    process = lab.start("run", lab.config(lab.task("only"), deployment=deaf), "--display", "plain")
    lab.until(lambda: any("deaf" in path.read_text() for path in lab.folder.glob("evalx-runs/*/endpoints/*/output.log")))
    process.send_signal(signal.SIGINT)
    lab.until_event("deleting", "model")
    time.sleep(NO_ECHO)
    process.send_signal(signal.SIGINT)
    done = lab.end(process)
    assert done.code == 7
    assert f"may be alive: evalx-{lab.run_id}-e0-model" in done.err and f"evalx cleanup {lab.run_id}" in done.err
    assert lab.alive()
    cleaned = lab.evalx("cleanup", "last")
    assert cleaned.code == 0 and not lab.alive()


@pytest.mark.parametrize("number", [2, 10])
def test_signals_upon_signals_while_a_task_runs(lab: Any, number: int) -> None:
    process = lab.start("run", lab.config(lab.shell("deaf", "trap '' TERM; while :; do sleep 0.1; done")), "--display", "plain")
    lab.until_event("running", "deaf")
    process.send_signal(signal.SIGINT)
    lab.until_event("cancelling")
    time.sleep(NO_ECHO)
    for _ in range(number - 1):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
    done = lab.end(process)
    assert done.code == 7 and f"evalx cleanup {lab.run_id}" in done.err and "0 of 1 tasks scored, something may be alive" in done.err
    assert lab.evalx("cleanup", "last").code == 0 and not lab.alive()


@pytest.mark.skipif(shutil.which("timeout") is None, reason="GNU timeout is not installed")
def test_the_command_timeout_signals_twice_and_means_once(lab: Any) -> None:
    """It signals its child and then the child's process group, which is its own."""
    config = lab.config(lab.task("endless", str(lab.gate)))
    evalx = (sys.executable, "-m", "evalx.cli", "run", config, "--display", "plain")
    timeout = lab.start("--preserve-status", "-s", "INT", "600", *evalx, argv=(), executable=shutil.which("timeout"))
    lab.until_event("running", "endless")
    timeout.send_signal(signal.SIGALRM)  # its time is up
    done = lab.end(timeout)
    assert (done.code, lab.alive()) == (130, []) and "nothing left alive" in done.err, done.err


def test_an_echo_is_no_second_signal(lab: Any) -> None:
    """With both in one turn of the loop, which the processes above leave to chance: it looks at the signals when it goes on."""
    process = lab.start("run", lab.config(lab.task("endless", str(lab.gate))), "--display", "plain")
    lab.until_event("running", "endless")
    process.send_signal(signal.SIGSTOP)
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    done = lab.end(process)
    assert (done.code in (130, 143), lab.alive()) == (True, []) and "nothing left alive" in done.err, done.err


def test_a_hook_that_never_returns_does_not_hold_up_the_end(lab: Any) -> None:
    """Python would wait for its thread for ever."""
    target = {"api_endpoint": {"url": "http://127.0.0.1:9/v1", "model_id": "m"}}
    config = {"defaults": [{"execution": "local/default"}, {"deployment": "none"}, "_self_"], "target": target}
    config |= {"execution": {"endpoint_readiness_timeout": 1}, "evaluation": {"harness": "command", "tasks": [lab.task("first")]}}
    (lab.folder / "c.yaml").write_text(json.dumps(config))
    done = lab.evalx("run", "c.yaml", "--json", env={**lab.environment, "EVALX_FAILPOINT": "hook.wait_ready.before:1:hang"})
    assert done.code == 5 and done.json["outcome"] == "failed" and "did not return in time" in done.out


def test_a_signal_during_cleanup_is_no_excuse(lab: Any) -> None:
    """Cleaning up is itself under the same rules: interrupted once, it goes on."""
    process = lab.start("run", lab.config(lab.task("endless", str(lab.gate))), "--display", "none")
    lab.until_event("running", "endless")
    process.kill()
    process.communicate(timeout=10)
    cleaning = lab.start("cleanup", "last")
    lab.until_event("deleting")
    cleaning.send_signal(signal.SIGINT)
    lab.end(cleaning)
    assert lab.evalx("cleanup", "last").code == 0
    assert not lab.alive()


SLEEPY = """
import pathlib, time
from attrs import frozen

@frozen(kw_only=True)
class Options:
    pass

class Exporter:
    evalx_api = (1, 0)
    Options = Options
    file_name = "x.txt"

    def export(self, run, destination, options):
        pathlib.Path("exporting").touch()
        time.sleep(60)
"""


def test_an_exporter_that_hangs_can_be_interrupted(lab: Any) -> None:
    info = lab.folder / "site" / "sleepy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sleepy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[evalx.exporters]\nsleepy = sleepy:Exporter\n")
    (info.parent / "sleepy.py").write_text(SLEEPY)
    environment = {**lab.environment, "PYTHONPATH": str(info.parent)}
    process = lab.start("run", lab.config(lab.task("first")), "+export.sleepy={}", env=environment)
    lab.until(lambda: (lab.folder / "exporting").exists())
    process.send_signal(signal.SIGINT)
    done = lab.end(process)
    assert done.code == 0 and "the export to sleepy was interrupted" in done.err and not lab.alive(), "the run itself was over"
