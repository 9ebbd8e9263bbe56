"""The commands that run, end and clean up, with real servers and tasks on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pyte
import pytest

from evalx.store import Store

pytestmark = pytest.mark.enable_socket

NOTICE = "Ctrl-C asks: stop and delete 1 endpoint, detach, or go on"


def alive(run_id: str) -> list[int]:
    """Processes that carry the run's mark."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if process.info["status"] != psutil.STATUS_ZOMBIE and process.environ().get("EVALX_RUN") == run_id:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def until(condition: Callable[[], Any], seconds: float = 30.0, seen: Callable[[], Any] = str) -> Any:
    """Wait for it; what it returned. seen: what to tell if it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {seen()}"
        time.sleep(0.05)
    return found


def running_run(seen: str = "running") -> str:
    """The id of the newest run, once one of its tasks is in that state."""

    def look() -> str | None:
        with Store() as store:
            runs = store.runs(1)
            states = [task.state.value for task in store.tasks(runs[0].run_id)] if runs else []
            return runs[0].run_id if seen in states else None

    return str(until(look))


def test_run_prints_scores_on_stdout_and_the_rest_on_stderr(evalx_process: Any, config: Any) -> None:
    done = evalx_process("run", config(addition=["4"], broken=["fail"]))
    assert done.code == 1
    head, *rows = done.out.splitlines()
    assert head.split() == ["task", "metric", "score", "±", "stderr", "n", "time"]
    assert rows[0].split()[:6] == ["addition", "accuracy", "0.2500", "±", "0.1000", "4"]
    assert rows[1].split()[:3] == ["broken", "failed", "-"]
    run_id = re.search(r"run (\w{11}):", done.err).group(1)  # type: ignore[union-attr]
    lines = done.err.splitlines()
    assert lines[0] == f"run {run_id}: 2 tasks, 2 endpoints, executor local"
    assert lines[1].endswith(f"/evalx-runs/{run_id}") and lines[2] == "Ctrl-C stops the run and deletes 2 endpoints"
    assert "addition  scored: accuracy 0.2500 ± 0.1000" in done.err
    assert "  | Traceback: the harness cannot find its data" in done.err
    assert f"run {run_id}: partial, 1 of 2 tasks scored, nothing left alive" in done.err
    assert f"evalx resume {run_id}" in done.err and f"evalx logs {run_id} broken" in done.err
    assert "\x1b" not in done.out + done.err
    assert len(list(Path(lines[1].removeprefix("directory ")).glob("tasks/*/output.log.times"))) == 2
    assert not alive(run_id)


def test_run_as_json(evalx_process: Any, config: Any) -> None:
    done = evalx_process("run", config(addition=["4"]), "--json", "-q")
    assert (done.code, done.err) == (0, "")
    assert done.json["schema"] == 1 and done.json["outcome"] == "succeeded" and done.json["exit_code"] == 0
    assert done.json["results"][0]["task"] == "addition" and done.json["results"][0]["metrics"][0]["n"] == 4


def test_run_as_json_lines(evalx_process: Any, config: Any) -> None:
    done = evalx_process("run", config(addition=["4"]), "--display", "jsonl")
    lines = [json.loads(text) for text in done.out.splitlines()]
    assert (done.code, done.err) == (0, "")
    numbers = [line["seq"] for line in lines[:-1]]
    assert lines[-1]["kind"] == "summary" and numbers == list(range(numbers[0], numbers[-1] + 1))


def test_options_reach_the_run(evalx_process: Any, config: Any) -> None:
    name = config(first=["300", "0.1"], second=["300", "0.1"])
    done = evalx_process("run", name, "--max-duration", "3s", "-t", "second", "execution.endpoints=shared", "--display", "none")
    assert done.code == 6
    assert [row.split()[:2] for row in done.out.splitlines()[1:]] == [["second", "cancelled"]]


def test_plan_creates_nothing(evalx_process: Any, config: Any, tmp_path: Path) -> None:
    name = config(addition=["4"])
    more = ["+evaluation.env_vars={HF_TOKEN: 'host:HF_TOKEN'}"]
    done = evalx_process("plan", name, *more, HF_TOKEN="canary-4711-canary")
    assert done.code == 0
    assert "name       evalx-<run id>-e0-addition" in done.out and "cost       nothing is billed" in done.out
    assert "http://ENDPOINT/v1/chat/completions" in done.out and "HF_TOKEN=<host:HF_TOKEN>" in done.out
    assert "canary" not in done.out and done.err == "nothing has been created\n"
    same = evalx_process("run", name, *more, "--dry-run", HF_TOKEN="canary-4711-canary")
    assert same.out == done.out
    found = evalx_process("plan", name, "--json", "--out", "plan.json").json
    written = json.loads((tmp_path / "plan.json").read_text())
    assert (written["schema"], written["tasks"]) == (found["schema"], found["tasks"])
    assert evalx_process("plan", name, "--out", "plan.json").code == 2, "what is there is not overwritten"
    assert found["schema"] == 1 and found["tasks"][0]["command"]["argv"][:3] == ["timeout", "-k", "30"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "tiny.yaml"]


def test_mistakes_in_a_config_end_with_2_and_create_nothing(evalx_process: Any, config: Any, tmp_path: Path) -> None:
    name = config(addition=["4"])
    for command in ("run", "plan"):
        done = evalx_process(command, name, "+deployment.prot=1", "+execution.start=late")
        assert (done.code, done.out) == (2, "")
        assert "deployment.prot" in done.err and "did you mean 'port'?" in done.err and "execution.start" in done.err
        assert "Traceback" not in done.err
    assert not (tmp_path / "evalx-runs").exists()
    errors = evalx_process("run", name, "+deployment.prot=1", "--json").json["error"]
    assert errors["exit_code"] == 2 and len(errors["errors"]) == 1


def test_config_show_says_where_values_come_from(evalx_process: Any, config: Any) -> None:
    name = config(addition=["4"])
    done = evalx_process("config", "show", name, "deployment.served_model_name=other")
    lines = {line.split(":")[0].strip(): line for line in done.out.splitlines()}
    assert done.code == 0
    assert re.search(r"served_model_name: other +# override deployment.served_model_name", lines["served_model_name"])
    assert re.search(r"output_dir: evalx-runs +# .*execution/local/default.yaml:\d+", lines["output_dir"])
    found = evalx_process("config", "show", name, "--json").json
    assert found["config"]["deployment"]["served_model_name"] == "tiny"
    assert found["origins"]["evaluation.tasks[0].name"] == "tiny.yaml:11"


def test_tasks_are_listed_and_shown(evalx: Any) -> None:
    found = evalx("tasks", "ls", "--json").json["tasks"]
    suite = found[0]["suite"]
    assert [row.split()[1] for row in evalx("tasks", "ls", "--suite", suite, found[0]["name"]).out.splitlines()[1:]]
    assert evalx("tasks", "show", f"{suite}.{found[0]['name']}", "--json").json["digest"].startswith("sha256:")
    wrong = evalx("tasks", "show", "mmlu_proo")
    assert wrong.code == 2 and "mmlu_pro" in wrong.err
    assert "did you mean" in evalx("tasks", "ls", "--suite", suite[:-1]).err


def test_plugins_are_listed_and_shown(evalx: Any) -> None:
    listed = evalx("plugins", "ls", "--group", "evalx.executors").out
    assert "local" in listed and "evalx.harnesses" not in listed
    done = evalx("plugins", "show", "local", "--json").json
    assert "read_logs" in done["capabilities"] and "runtime" in [key["key"] for key in done["settings"]]
    assert "capabilities  " in evalx("plugins", "show", "local").out
    assert "--group" in evalx("plugins", "show", "command").err
    assert "argv" in evalx("plugins", "show", "command", "--group", "evalx.local.deployments").out
    wrong = evalx("plugins", "show", "locale")
    assert wrong.code == 2 and "did you mean 'local'?" in wrong.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_run_and_deletes_what_it_made(started: Any, config: Any, number: signal.Signals, code: int) -> None:
    process = started("run", config(endless=["3000", "0.1"]), "--display", "plain")
    run_id = running_run()
    assert alive(run_id)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err and f"interrupted by {number.name}" in err
    assert "endless  cancelled" in out and not alive(run_id)


def test_after_kill_9_a_run_is_seen_cleaned_and_resumed(started: Any, config: Any, evalx: Any) -> None:
    process = started("run", config(short=["2"], endless=["3000", "0.1"]), "--display", "none")
    run_id = running_run("scored")
    until(lambda: running_run() == run_id)
    process.kill()
    process.wait(timeout=10)
    assert evalx("status", "--exit-status").code == 7 and alive(run_id)
    assert evalx("cleanup", "--all-runs").code == 7 and alive(run_id)
    done = evalx("cleanup", "--all-runs", "--apply")
    assert done.code == 0 and f"run {run_id}: nothing left alive" in done.err
    assert not alive(run_id)
    assert evalx("cleanup", run_id).code == 0
    rows = {row.split()[0]: row.split()[1] for row in evalx("results", run_id).out.splitlines()[1:]}
    assert rows == {"short": "accuracy", "endless": "cancelled"}


def test_resume_runs_only_what_has_no_score(evalx_process: Any, config: Any, tmp_path: Path) -> None:
    evalx_process("run", config(addition=["2"], broken=["fail"]), "--display", "none")
    done = evalx_process("resume", "last", "--display", "plain")
    assert done.code == 1
    assert "2 tasks: 1 scored, 1 failed" in done.err
    assert "addition  submitted" not in done.err and "broken    submitted" in done.err
    assert [row.split()[0] for row in done.out.splitlines()[1:]] == ["addition", "broken"]


@pytest.mark.parametrize("now", [False, True])
def test_cancel_ends_a_run_of_another_process(started: Any, config: Any, evalx_process: Any, now: bool) -> None:
    process = started("run", config(endless=["3000", "0.1"]), "--display", "none")
    run_id = running_run()
    done = evalx_process("cancel", run_id[:8], *(["--now"] if now else []))
    assert done.code == 0 and "nothing left alive" in done.err
    process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGKILL if now else 143)
    assert not alive(run_id)


class Terminal:
    """A terminal of 80 columns with evalx in it, and a reader of its screen."""

    def __init__(self, environment: dict[str, str], folder: Path, *args: str, rows: int = 24) -> None:
        self.screen = pyte.Screen(80, rows)
        self.stream = pyte.Stream(self.screen)
        argv = ["-m", "evalx.cli", *args]
        self.child = pexpect.spawn(
            sys.executable, argv, dimensions=(rows, 80), env=environment, cwd=str(folder), encoding="utf-8", timeout=30
        )

    def read(self) -> bool:
        """Take in what has been written; False when the process is over."""
        try:
            self.stream.feed(self.child.read_nonblocking(65536, timeout=0.1))
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        return True

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def until_shown(self, text: str) -> list[str]:
        until(lambda: self.read() and text in "\n".join(self.lines()), seen=self.lines)
        return self.lines()

    def to_the_end(self) -> int:
        while self.read():
            pass
        self.child.close()
        return int(self.child.exitstatus if self.child.exitstatus is not None else -self.child.signalstatus)


def test_the_live_table_on_a_terminal(environment: dict[str, str], config: Any, tmp_path: Path) -> None:
    terminal = Terminal(environment, tmp_path, "run", config(addition=["20", "0.1"]))
    lines = terminal.until_shown("addition  running")
    assert any(line.startswith("1 task: 1 running") for line in lines)
    assert NOTICE in lines
    assert terminal.to_the_end() == 0
    lines = terminal.lines()
    assert any(re.fullmatch(r"addition +accuracy +0\.0500 +± 0\.1000 +20 +\d+s", line) for line in lines)
    assert NOTICE not in lines, "the live table goes when the scores come"
    assert any(line.endswith("succeeded, 1 of 1 tasks scored, nothing left alive") for line in lines)


def test_an_interrupt_on_a_terminal(environment: dict[str, str], config: Any, tmp_path: Path) -> None:
    terminal = Terminal(environment, tmp_path, "run", config(endless=["3000", "0.1"]))
    terminal.until_shown("endless  running")
    terminal.child.sendintr()
    terminal.until_shown("Ctrl-C: [s]top and delete 1 endpoint, [d]etach, [c]ontinue?")
    terminal.child.send("s")
    assert terminal.to_the_end() == 130
    text = "\n".join(terminal.lines())
    assert "cancelled (interrupted by SIGINT), 0 of 1 tasks scored, nothing left alive" in text.replace("\n", " ")
    assert "Traceback" not in text and not terminal.screen.cursor.hidden


def test_many_tasks_on_a_small_terminal(environment: dict[str, str], config: Any, tmp_path: Path) -> None:
    tasks = {f"task{number:03d}": ["30", "0.1"] for number in range(40)}
    more = ["execution.endpoints=shared", "+execution.max_tasks=2"]
    terminal = Terminal(environment, tmp_path, "run", config(**tasks), *more, rows=16)
    lines = terminal.until_shown("2 running")
    assert sum(line.startswith("task0") for line in lines) <= 11
    assert any(re.match(r"… and \d+ more", line) for line in lines)
    assert NOTICE in lines
    os.kill(terminal.child.pid, signal.SIGTERM)
    assert terminal.to_the_end() == 143


def test_no_colour_where_none_is_wanted(environment: dict[str, str], config: Any, tmp_path: Path) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "evalx.cli", "run", "nothing.yaml"],
        env={**environment, "NO_COLOR": "1"},
        cwd=str(tmp_path),
        encoding="utf-8",
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2 and child.before.startswith("error: ") and "\x1b[" not in child.before
