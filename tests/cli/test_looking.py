"""The commands that look at runs: ls, status, watch, logs, results; and what cleanup lists."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evalx.logtimes import note
from evalx.model import Metric
from evalx.store.states import Cleanliness, ResourceState, RunOutcome, RunState


def test_without_runs_the_user_is_told_what_to_do(evalx: Any) -> None:
    assert evalx("ls").err == "no runs yet; try: evalx run quickstart\n"
    assert evalx("ls", "--json").json == {"schema": 1, "runs": []}
    done = evalx("status")
    assert done.code == 2 and done.err.startswith("error: there are no runs yet\n hint: ")


def test_ls_shows_the_newest_first(evalx: Any, stored: Any) -> None:
    first, second = stored("math"), stored("math", "code")
    first.submit(0)
    first.score(0)
    first.close()
    second.submit(0)
    done = evalx("ls")
    head, *rows = done.out.splitlines()
    assert head.split() == ["run", "state", "scored", "alive", "executor", "started", "tasks"]
    assert rows[0].split()[:4] == [second.run_id, "running", "0/2", "1"] and rows[0].endswith("math, code")
    assert rows[1].split()[:4] == [first.run_id, "succeeded", "1/1", "-"]
    assert [run["run_id"] for run in evalx("ls", "--json", "-n", "1").json["runs"]] == [second.run_id]


def test_status_of_a_running_run(evalx: Any, stored: Any) -> None:
    run = stored("math", "code")
    run.submit(0)
    run.journal.note("progress", "math", data={"subject": "task", "phase": "running", "done": 12, "total": 40})
    run.endpoint(1, ResourceState.CREATED)
    run.journal.note("progress", "code", reason="no node is free", data={"subject": "endpoint", "phase": "queueing"})
    done = evalx("status", run.run_id[:6])
    assert done.code == 0
    assert f"state      running, process {os.getpid()} on " in done.out
    rows = {line.split()[0]: line.split() for line in done.out.splitlines() if line[:4] in ("math", "code")}
    assert rows["math"][:4] == ["math", "running", "12/40", "ready"]
    assert rows["code"][1:3] == ["queueing", "-"] and " ".join(rows["code"]).endswith("no node is free")
    assert "\nalive:\n" in done.out and f"evalx-{run.run_id}-e1" in done.out
    assert evalx("status", "--exit-status").code == 8


def test_status_of_an_interrupted_run_says_what_may_be_alive(evalx: Any, stored: Any) -> None:
    run = stored("math")
    run.submit(0)
    run.abandon()
    done = evalx("status", "--exit-status")
    assert done.code == 7
    assert f"interrupted  (go on: evalx resume {run.run_id})" in done.out
    assert f"may be alive (evalx cleanup {run.run_id}):" in done.out
    found = evalx("status", "--json").json
    assert found["condition"] == "interrupted" and found["exit_code"] == 7
    assert found["may_be_alive"] == [f"evalx-{run.run_id}-e0"]


def test_status_of_a_run_that_scored_everything(evalx: Any, stored: Any) -> None:
    run = stored("math")
    run.submit(0)
    run.score(0)
    run.close()
    done = evalx("status", "--exit-status")
    assert done.code == 0 and "alive" not in done.out
    assert "accuracy 0.4500 ± 0.0790" in done.out


@pytest.mark.parametrize(("outcome", "code"), [(RunOutcome.FAILED, 5), (RunOutcome.CANCELLED, 143), (RunOutcome.TIMED_OUT, 6)])
def test_exit_status_of_runs_that_are_over(evalx: Any, stored: Any, outcome: RunOutcome, code: int) -> None:
    run = stored("math")
    run.submit(0)
    run.fail(0, "no")
    run.close(outcome, exit_code=code)
    assert evalx("status", "--exit-status").code == code


def test_a_suspected_leak_is_never_forgotten(evalx: Any, stored: Any) -> None:
    run = stored("math")
    run.submit(0)
    run.score(0)
    run.endpoint(0, ResourceState.LEAK_SUSPECTED, "still there after 300 s")
    run.close(cleanliness=Cleanliness.DIRTY)
    done = evalx("status", "--exit-status")
    assert done.code == 7 and "leak suspected  still there after 300 s" in done.out
    assert evalx("cleanup", "--all-runs").code == 7


def test_results_are_on_stdout_and_failures_on_stderr(evalx: Any, stored: Any) -> None:
    run = stored("math", "code", "open")
    run.submit(0)
    run.score(0, Metric("accuracy", 0.45, 0.079, 40), Metric("f1", 61.25, None, None))
    run.submit(1)
    run.fail(1, "out of \x1b[31mmemory\x1b[0m")
    run.log(1, "line 1\n\x1b]0;title\x07killed\n")
    done = evalx("results", run.run_id)
    head, *rows = done.out.splitlines()
    assert head.split() == ["task", "metric", "score", "±", "stderr", "n", "time"]
    assert rows[0].split() == ["math", "accuracy", "0.4500", "±", "0.0790", "40", "12s"]
    assert rows[1].split() == ["f1", "61.25", "-"]
    assert rows[2].split() == ["code", "failed", "-", "-", "-"]
    assert "code: failed\n  out of memory\n" in done.err
    assert "  | line 1\n  | killed\n" in done.err and "\x1b" not in done.err
    assert "1 task without a result" in done.err
    found = evalx("results", "--json").json
    assert found["results"][0]["metrics"][0] == {"name": "accuracy", "value": 0.45, "stderr": 0.079, "n": 40}
    assert found["condition"] == "running" and found["exit_code"] == 8


def test_logs_of_a_task_of_all_and_of_an_endpoint(evalx: Any, stored: Any) -> None:
    run = stored("math", "code")
    run.log(0, "one\ntwo\x1b[2J\n10%\r50%\r100%\n")
    run.log(1, "three\n")
    run.log(0, "the server\n", kind="endpoints")
    assert evalx("logs", "last", "math").out == "one\ntwo\n100%\n"
    assert evalx("logs", "last", "math", "--tail", "1").out == "100%\n"
    assert evalx("logs").out == "math | one\nmath | two\nmath | 100%\ncode | three\n"
    assert evalx("logs", "last", "math", "--endpoint").out == "the server\n"
    assert evalx("logs", "last", "code", "--json").json["logs"] == [{"name": "code", "lines": ["three"]}]
    done = evalx("logs", "last", "nath")
    assert done.code == 2 and "tasks: math, code" in done.err


def test_logs_are_not_read_through_links(evalx: Any, stored: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    run = stored("math")
    path = run.log(0, "mine\n")
    path.with_name("a.log").symlink_to(tmp_path / "secret")
    path.unlink()
    done = evalx("logs", "last", "math")
    assert done.out == "" and "nothing has been logged" in done.err


def test_logs_since_a_time(evalx: Any, stored: Any) -> None:
    run = stored("math", "code")
    path, now = run.log(0, "one\ntwo\nthree\n"), time.time()
    note(path, [(now - 7200, 4), (now - 600, 8), (now, 14)])
    assert evalx("logs", "last", "math", "--since", "1h").out == "two\nthree\n"
    assert evalx("logs", "last", "math", "--since", "5m").out == "three\n"
    assert evalx("logs", "last", "math", "--since", "1h", "--tail", "1").out == "three\n"
    assert evalx("logs", "last", "math", "--since", "2000-01-01").out == "one\ntwo\nthree\n"
    moment = datetime.fromtimestamp(now - 3600, UTC).isoformat()
    assert evalx("logs", "last", "--since", moment, "--json").json["logs"][0]["lines"] == ["two", "three"]
    done = evalx("logs", "last", "math", "--since", "2100-01-01T00:00")
    assert (done.code, done.out) == (0, "") and "nothing has been logged since then" in done.err


def test_logs_whose_times_nobody_knows(evalx: Any, stored: Any) -> None:
    run = stored("math")
    run.log(0, "one\n")
    done = evalx("logs", "last", "math", "--since", "1h")
    assert (done.code, done.out) == (2, "") and "it is not known when" in done.err and " hint: " in done.err and "--tail" in done.err
    done = evalx("logs", "--since", "yesterday")
    assert done.code == 2 and "'yesterday' is neither a length of time nor a time" in done.err


def test_logs_of_evalx_itself(evalx: Any, stored: Any) -> None:
    run = stored("math")
    run.submit(0)
    run.journal.note("warning", "math", reason="something is odd\x1b[2J")
    before = time.time()
    run.score(0)
    lines = evalx("logs", "last", "evalx").out.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \S", line) for line in lines)
    said = [line[21:] for line in lines]
    assert said[:3] == ["run   active", "math  endpoint ready", "math  submitted"] or said[0].startswith("run   planned")
    assert "warning: math: something is odd" in said and "math  scored: accuracy 0.4500 ± 0.0790" in said
    assert evalx("logs", "last", "evalx", "--tail", "2").out.splitlines() == lines[-2:]
    since = datetime.fromtimestamp(before, UTC).isoformat()
    assert (
        evalx("logs", "last", "evalx", "--since", since).out.splitlines() == lines[said.index("math  scored: accuracy 0.4500 ± 0.0790") :]
    )
    assert evalx("logs", "last", "evalx", "--json").json["logs"] == [{"name": "evalx", "lines": lines}]


def test_a_task_that_is_called_evalx_is_a_task(evalx: Any, stored: Any) -> None:
    stored("evalx").log(0, "mine\n")
    assert evalx("logs", "last", "evalx").out == "mine\n"


def test_evalxs_own_log_is_followed(started: Any, stored: Any) -> None:
    run = stored("math")
    run.submit(0)
    process = started("logs", "last", "evalx", "-f", "--tail", "1")
    assert process.stdout.readline()[21:] == "math  running\n"
    run.score(0)
    assert process.stdout.readline()[21:] == "math  scored: accuracy 0.4500 ± 0.0790\n"
    run.close()
    assert process.communicate(timeout=60)[0].splitlines()[-1][21:].startswith("run   closed")


def test_logs_follow_until_the_run_is_over(started: Any, stored: Any) -> None:
    run = stored("math")
    path = run.log(0, "one\ntwo\n")
    process = started("logs", "last", "math", "-f", "--tail", "1")
    assert process.stdout.readline() == "two\n"
    with path.open("a") as log:
        log.write("three\nunfin")
        log.flush()
        assert process.stdout.readline() == "three\n"
        log.write("ished\n")
    run.close()
    assert process.communicate(timeout=20)[0] == "unfinished\n"
    assert process.returncode == 0


def test_logs_follow_from_a_time_on(started: Any, stored: Any) -> None:
    run = stored("math")
    path, now = run.log(0, "one\ntwo\n"), time.time()
    note(path, [(now - 7200, 4), (now - 600, 8)])
    process = started("logs", "last", "math", "-f", "--since", "1h")
    assert process.stdout.readline() == "two\n"
    with path.open("a") as log:
        log.write("three\n")
    run.close()
    assert process.communicate(timeout=60)[0] == "three\n"


def test_watch_follows_another_process_to_the_end(started: Any, stored: Any) -> None:
    run = stored("math")
    run.submit(0)
    process = started("watch", "last", "--display", "plain")
    lines = [process.stderr.readline() for _ in range(4)]
    assert lines[0] == f"run {run.run_id}: 1 task, 1 endpoint, executor local\n"
    assert lines[2] == "Ctrl-C stops watching; the run goes on\n"
    run.score(0)
    run.close()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "math  scored: accuracy 0.4500 ± 0.0790" in err
    assert "math  accuracy  0.4500  ± 0.0790  40   12s" in out
    assert f"run {run.run_id}: succeeded, 1 of 1 tasks scored, nothing left alive" in err


def test_an_interrupt_of_watch_leaves_the_run_alone(started: Any, stored: Any, evalx: Any) -> None:
    run = stored("math")
    run.submit(0)
    process = started("watch", "last", "--display", "plain")
    for _ in range(4):
        process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err
    assert evalx("status", "--exit-status").code == 8


def test_watch_of_a_run_that_nobody_works_on_ends_at_once(evalx: Any, stored: Any) -> None:
    run = stored("math")
    run.submit(0)
    run.abandon()
    done = evalx("watch")
    assert done.code == 7
    assert f"no process is working on run {run.run_id}" in done.err
    assert f"may be alive: evalx-{run.run_id}-e0" in done.err and f"evalx resume {run.run_id}" in done.err


def test_watch_as_json_lines_has_every_event_and_a_summary(evalx: Any, stored: Any) -> None:
    import json

    run = stored("math")
    run.submit(0)
    run.score(0)
    run.close()
    lines = [json.loads(text) for text in evalx("watch", "--display", "jsonl").out.splitlines()]
    assert [line["seq"] for line in lines[:-1]] == list(range(1, len(lines)))
    assert lines[-1]["kind"] == "summary" and lines[-1]["exit_code"] == 0
    assert {line["schema"] for line in lines} == {1}


def test_cleanup_of_all_runs_only_lists(evalx: Any, stored: Any) -> None:
    running, left, clean = stored("a"), stored("b"), stored("c")
    for run in (running, left):
        run.submit(0)
    left.abandon()
    clean.journal.run(RunState.CLOSED, outcome=RunOutcome.FAILED)
    clean.abandon()
    done = evalx("cleanup", "--all-runs")
    assert done.code == 7 and "nothing was deleted" in done.err
    assert [row.split()[:3] for row in done.out.splitlines()[1:]] == [[left.run_id, "endpoint", f"evalx-{left.run_id}-e0"]]
    assert [run["run_id"] for run in evalx("cleanup", "--all-runs", "--json").json["runs"]] == [left.run_id]


def test_run_ids_are_found_by_their_beginning(evalx: Any, stored: Any) -> None:
    run = stored("math")
    assert evalx("status", run.run_id[:4], "--json").json["run_id"] == run.run_id
    done = evalx("status", "zzz-none")
    assert done.code == 2 and done.err.startswith("error: ")


def test_tables_fit_the_terminal(environment: dict[str, str], stored: Any, tmp_path: Path) -> None:
    import pexpect

    run = stored(*(f"a task with quite a long name {number}" for number in range(3)))
    run.submit(0)
    run.fail(0, "because " * 30)
    child = pexpect.spawn(sys.executable, ["-m", "evalx.cli", "status"], dimensions=(24, 80), env=environment, encoding="utf-8", timeout=30)
    child.expect(pexpect.EOF)
    child.close()
    lines = [text for text in child.before.replace("\r", "").splitlines() if text.startswith(("task ", "a task"))]
    assert len(lines) == 4 and max(map(len, lines)) <= 80
