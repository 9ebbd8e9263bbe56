"""Wrong usage, and what is wrong with stored runs and the state."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import Any

from tests.cli.gallery.stage import GOOD, SITUATIONS, Stage, situation
from tests.unit.compare.made import Made, make_run

from evalx import processes
from evalx.store.states import Cleanliness, ResourceState, RunOutcome

USAGE: dict[str, tuple[str, ...]] = {
    "usage_no_config": ("run",),
    "usage_unknown_command": ("runn", "quickstart"),
    "usage_unknown_option": ("run", "quickstart", "--dryrun"),
    "usage_two_configs": ("run", "quickstart", "quickstart-tinyqa"),
    "usage_config_and_name": ("run", "quickstart", "--config-name", "x"),
    "usage_bad_duration": ("run", "quickstart", "--max-duration", "soon"),
    "usage_bad_time": ("logs", "last", "--since", "yesterday"),
    "usage_bad_choice": ("run", "quickstart", "--display", "colourful"),
    "usage_negative_cost": ("run", "quickstart", "--max-cost", "-1"),
    "usage_missing_argument": ("compare", "last"),
    "usage_cleanup_of_nothing": ("cleanup",),
    "usage_cleanup_apply_of_one_run": ("cleanup", "last", "--apply"),
    "usage_cleanup_with_settings": ("cleanup", "last", "execution.output_dir=x"),
    "usage_unknown_task_of_the_catalogue": ("tasks", "show", "gsm8"),
    "usage_unknown_plugin": ("plugins", "show", "leptn"),
    "usage_doctor_with_settings_of_nothing": ("doctor", "execution.runtime=podman"),
    "usage_unknown_shell": ("completion", "tcsh"),
    "no_runs_yet": ("status", "last"),
    "unknown_run": ("results", "zzz"),
}


def _typed(args: tuple[str, ...]) -> Any:
    return lambda stage: stage.evalx(*args)


SITUATIONS |= {name: _typed(args) for name, args in USAGE.items()}


def finished(stage: Stage) -> Any:
    """A run with two tasks, of which one has a score."""
    run = stage.stored("math", "code")
    run.score(0)
    run.fail(1, "exit code 1: no such dataset")
    run.log(0, "asked\n")
    run.close(RunOutcome.PARTIAL, exit_code=1)
    return run


@situation
def run_that_may_be_one_of_several(stage: Stage) -> Any:
    for number in range(2):
        run = stage.stored(f"task{number}")
        run.close()
    with closing(sqlite3.connect(stage.state / "evalx.db")) as database:
        for number, (run_id,) in enumerate(database.execute("SELECT run_id FROM runs").fetchall()):
            for table in ("events", "leases", "tasks", "resources", "runs"):
                database.execute(f"UPDATE {table} SET run_id = ? WHERE run_id = ?", (f"aab{number + 2}2222222", run_id))
        database.commit()
    return stage.evalx("status", "aab")


@situation
def run_of_another_process(stage: Stage) -> Any:
    run, parent = stage.stored("math"), os.getppid()
    with closing(sqlite3.connect(stage.state / "evalx.db")) as database:
        database.execute("UPDATE leases SET pid = ?, birth = ?", (parent, processes.birth(parent)))
        database.commit()
    return stage.evalx("resume", run.run_id, "--display", "none")


@situation
def export_without_destination(stage: Stage) -> Any:
    return stage.evalx("export", finished(stage).run_id)


@situation
def compare_with_damaged_samples(stage: Stage) -> Any:
    runs = [kept(stage, math=Made([1.0] * 8)) for _ in range(2)]
    for path in runs[0].rglob("samples*"):
        path.write_bytes(b"\xff{")
    return stage.evalx("compare", *map(str, runs))


@situation
def status_of_a_run_that_left_something(stage: Stage) -> Any:
    run = stage.stored("math")
    run.endpoint(0, ResourceState.LEAK_SUSPECTED, "DELETE: HTTP 500")
    run.close(RunOutcome.FAILED, Cleanliness.DIRTY, 7)
    return stage.evalx("status", run.run_id, "--exit-status")


@situation
def cleanup_that_only_lists(stage: Stage) -> Any:
    run = stage.stored("math")
    run.endpoint(0, ResourceState.READY)
    run.abandon()
    return stage.evalx("cleanup", "--all-runs")


@situation
def log_of_an_unknown_task(stage: Stage) -> Any:
    return stage.evalx("logs", finished(stage).run_id, "mth")


@situation
def log_whose_times_nobody_knows(stage: Stage) -> Any:
    return stage.evalx("logs", finished(stage).run_id, "math", "--since", "1h")


@situation
def log_that_is_not_there(stage: Stage) -> Any:
    return stage.evalx("logs", finished(stage).run_id, "code")


@situation
def results_with_a_failed_task(stage: Stage) -> Any:
    return stage.evalx("results", finished(stage).run_id)


@situation
def gate_without_its_policy(stage: Stage) -> Any:
    return stage.evalx("gate", finished(stage).run_id, "--policy", "policy.yaml")


@situation
def gate_with_mistakes_in_its_policy(stage: Stage) -> Any:
    stage.write("policy.yaml", "require: math\nrules:\n  - {task: math, minimum: 0.5}\n  - {metric: accuracy, max_regression: -1}\n")
    return stage.evalx("gate", finished(stage).run_id, "--policy", "policy.yaml")


@situation
def gate_of_a_score_that_is_not_there(stage: Stage) -> Any:
    stage.write("policy.yaml", "rules:\n  - {task: math, metric: f1, min: 0.5}\n  - {task: maths, min: 0.5}\n")
    return stage.evalx("gate", str(kept(stage, math=Made([1.0] * 8))), "--policy", "policy.yaml")


@situation
def gate_that_fails(stage: Stage) -> Any:
    stage.write("policy.yaml", "require: [code]\nrules:\n  - {task: math, min: 0.95}\n")
    return stage.evalx("gate", str(kept(stage, math=Made([1.0, 0.0] * 8))), "--policy", "policy.yaml")


@situation
def gate_of_a_run_that_goes_on(stage: Stage) -> Any:
    stage.write("policy.yaml", "require: [math]\n")
    return stage.evalx("gate", stage.stored("math").run_id, "--policy", "policy.yaml")


def kept(stage: Stage, **tasks: Made) -> Any:
    return make_run(stage.folder, **tasks).directory


@situation
def compare_of_other_tasks(stage: Stage) -> Any:
    return stage.evalx("compare", str(kept(stage, math=Made([1.0] * 8))), str(kept(stage, code=Made([1.0] * 8))))


@situation
def compare_with_a_damaged_result(stage: Stage) -> Any:
    runs = [kept(stage, math=Made([1.0] * 8)) for _ in range(2)]
    next(runs[0].glob("tasks/*/result.json")).write_text('{"spec": {"na')
    return stage.evalx("compare", *map(str, runs))


@situation
def compare_with_a_result_of_something_else(stage: Stage) -> Any:
    runs = [kept(stage, math=Made([1.0] * 8)) for _ in range(2)]
    next(runs[0].glob("tasks/*/result.json")).write_text('{"accuracy": 1.0}')
    return stage.evalx("compare", *map(str, runs))


@situation
def compare_with_a_folder_that_is_no_run(stage: Stage) -> Any:
    return stage.evalx("compare", "./here", "./there")


@situation
def report_over_a_file_that_is_none(stage: Stage) -> Any:
    stage.write("notes.html", "my notes")
    return stage.evalx("report", finished(stage).run_id, "--output", "notes.html")


@situation
def report_of_a_damaged_directory(stage: Stage) -> Any:
    run = finished(stage)
    (run.directory / "plan.json").write_text("{}")
    stage.write("copy/plan.json", "{}")
    return stage.evalx("report", "./copy")


@situation
def report_of_a_run_whose_directory_is_gone(stage: Stage) -> Any:
    run = finished(stage)
    run.directory.rename(stage.folder / "elsewhere")
    return stage.evalx("report", run.run_id)


@situation
def export_to_what_is_not_there(stage: Stage) -> Any:
    return stage.evalx("export", finished(stage).run_id, "--to", "excel")


@situation
def export_with_an_unknown_option(stage: Stage) -> Any:
    return stage.evalx("export", finished(stage).run_id, "--to", "every_eval_ever", "organisation=x")


@situation
def export_without_what_it_needs(stage: Stage) -> Any:
    return stage.evalx("export", finished(stage).run_id, "--to", "huggingface")


@situation
def export_into_a_folder_that_is_not_writable(stage: Stage) -> Any:
    stage.write("file", "")
    return stage.evalx("export", finished(stage).run_id, "--to", "csv", "--output", "file/scores.csv")


@situation
def state_that_is_damaged(stage: Stage) -> Any:
    stage.write("state/evalx.db", "this is no database" * 400)
    return stage.evalx("ls")


@situation
def state_of_a_newer_evalx(stage: Stage) -> Any:
    stage.evalx("ls")
    with closing(sqlite3.connect(stage.state / "evalx.db")) as database:
        database.execute("PRAGMA user_version = 99")
    return stage.evalx("ls")


@situation
def state_that_cannot_be_made(stage: Stage) -> Any:
    stage.write("file", "")
    stage.monkeypatch.setenv("EVALX_STATE_DIR", str(stage.folder / "file" / "state"))
    return stage.evalx("ls")


@situation
def output_folder_that_cannot_be_made(stage: Stage) -> Any:
    stage.write("file", "")
    return stage.run(GOOD + "execution: {output_dir: file/runs}\n")


@situation
def disk_that_is_full(stage: Stage) -> Any:
    """No disk is filled: the call that makes the run's files durable fails as it does on one."""

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device", str(stage.folder / "evalx-runs"))

    stage.monkeypatch.setattr("evalx.store.store.os.fsync", full)
    return stage.run(GOOD)


@situation
def init_over_a_file(stage: Stage) -> Any:
    stage.write("my.yaml", "mine: 1\n")
    return stage.evalx("init", "my.yaml")


@situation
def import_of_what_is_no_config(stage: Stage) -> Any:
    stage.write("old.yaml", json.dumps(["a"]))
    return stage.evalx("config", "import", "old.yaml")
