"""`evalx compare` and `evalx gate`, as a user types them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.compare.made import Made, make_run, metric

from evalx.compare.stats import Score, interval, paired
from evalx.model import Metric, Outcome

GOOD = [1.0] * 22 + [0.0] * 2
BAD = [1.0] * 8 + [0.0] * 16
GOOD_INTERVAL = interval(Score(metric(GOOD).value, metric(GOOD).stderr, len(GOOD))) or (0.0, 0.0)
LOWER_BOUND = f"{GOOD_INTERVAL[0]:.4f}"


def pair(folder: Path, **b: Made) -> tuple[str, str]:
    """The directories of a run with task `math` and of another with these tasks."""
    return str(make_run(folder, math=Made(GOOD), model="strong").directory), str(make_run(folder, model="weak", **b).directory)


def test_compare_says_in_words_what_the_figures_mean(evalx: Any, tmp_path: Path) -> None:
    done = evalx("compare", *pair(tmp_path, math=Made(BAD)))
    assert done.code == 0 and done.err == ""
    first, second, _, head, *rows = done.out.splitlines()
    assert re.fullmatch(r"A  \w{11}  strong", first) and re.fullmatch(r"B  \w{11}  weak", second)
    assert head.split("  ")[0] == "task, metric" and head.endswith("verdict, 95% interval")
    assert rows[0].split() == ["math", "24", "0.9167", "0.3333", "-0.5833", "worse"]
    found = paired([((a,), (b,)) for a, b in zip(GOOD, BAD, strict=True)])
    errors = [f"±{error:.4f}" for error in (metric(GOOD).stderr, metric(BAD).stderr, found.stderr)]
    assert found.interval and rows[1].split() == ["└", "accuracy", *errors, f"{found.interval[0]:.4f}", "to", f"{found.interval[1]:.4f}"]
    assert "B is worse than A in math accuracy: more than chance explains." in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())


def test_compare_without_a_difference_claims_no_equality(evalx: Any, tmp_path: Path) -> None:
    done = evalx("compare", *pair(tmp_path, math=Made(GOOD)))
    assert done.code == 0 and "no difference shown" in done.out and "Equal they need not be" in done.out


def test_compare_tells_what_it_does_not_compare(evalx: Any, tmp_path: Path) -> None:
    done = evalx("compare", *pair(tmp_path, math=Made(GOOD, facts={"temperature": 0.7}), code=Made(GOOD)))
    assert done.code == 2 and done.err.startswith("error: nothing in these runs can be compared\n hint: ")
    assert done.out.split("Not compared:\n")[1].splitlines() == [
        "  math",
        "    - other facts.temperature: none in A, 0.7 in B",
        "  code",
        "    - A has no such task",
    ]


def test_compare_says_why_it_is_not_paired(evalx: Any, tmp_path: Path) -> None:
    done = evalx("compare", *pair(tmp_path, math=Made(BAD, samples=[])))
    assert "math*" in done.out and "(there is no samples.jsonl)" in " ".join(done.out.split())


def test_compare_as_json(evalx: Any, tmp_path: Path) -> None:
    done = evalx("compare", "--json", *pair(tmp_path, math=Made(BAD), code=Made(GOOD)))
    assert done.code == 0 and done.json["schema"] == 1
    (found,) = done.json["comparisons"]
    assert (found["verdict"], found["paired"], found["questions"]) == ("worse", True, 24)
    assert found["interval"][0] < found["difference"] < found["interval"][1] < 0 < found["p"] <= found["p_adjusted"] < 0.05
    assert done.json["not_compared"] == [{"task": "code", "metric": None, "reasons": ["A has no such task"]}]
    assert [done.json[side]["models"] for side in "ab"] == [["strong"], ["weak"]]


def test_compare_shows_hostile_names_inert(evalx: Any, tmp_path: Path) -> None:
    name = "ma\x1b[31mth\u202e"
    score = Metric("acc\x1b]0;x\x07uracy", 0.5, 0.1, 24)
    a, b = (make_run(tmp_path, model="m\x1b[2J", **{name: Made(metrics=[score])}) for _ in range(2))
    done = evalx("compare", str(a.directory), str(b.directory))
    assert "math" in done.out and not re.search(r"[\x1b\x07\u202e]", done.out + done.err)


def test_real_runs_and_a_copied_directory(evalx_process: Any, config: Callable[..., str], tmp_path: Path) -> None:
    run = ("run", config(math=["8"], code=["fail"]), "--display", "none")
    (tmp_path / "tiny.yaml").write_text(
        (tmp_path / "tiny.yaml").read_text().replace("name: math\n", "name: math\n      dataset_dir: data\n")
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "questions.jsonl").touch()
    assert [evalx_process(*run).code for _ in range(2)] == [1, 1]
    first, second = (entry["run_id"] for entry in evalx_process("ls", "--json").json["runs"])
    assert json.loads((tmp_path / "evalx-runs" / first / "manifest.json").read_text())["datasets"]["math"]["files"] == 1
    shutil.move(tmp_path / "evalx-runs" / first, tmp_path / "kept")
    gone = evalx_process("compare", first, second)
    assert gone.code == 2 and "is gone" in gone.err
    done = evalx_process("compare", "kept", second, "--json")
    assert done.code == 0, done.err
    (found,) = done.json["comparisons"]
    assert (found["task"], found["verdict"], found["unpaired_because"]) == ("math", "no difference shown", None)
    assert done.json["not_compared"][0]["reasons"] == ["it has no score in A: failed", "it has no score in B: failed"]
    (tmp_path / "policy.yaml").write_text("baseline: ./kept\nrules: [{task: math, min: 0.0, not_worse: true}]\n")
    assert evalx_process("gate", second, "--policy", "policy.yaml").code == 0
    (tmp_path / "policy.yaml").write_text("require: [math, code]\n")
    assert evalx_process("gate", second, "--policy", "policy.yaml").code == 3

    (tmp_path / "evalx-runs" / second / "tasks/000-math/results/samples.jsonl").unlink()
    assert evalx_process("compare", "kept", second, "--json").json["comparisons"][0]["paired"] is False
    manifest = tmp_path / "kept" / "manifest.json"
    manifest.write_text(re.sub(r'"sha256": "\w{64}",\n   "files"', '"sha256": "other",\n   "files"', manifest.read_text()))
    (reason,) = evalx_process("compare", "kept", second, "--json").json["not_compared"][0]["reasons"]
    assert reason == "other data: the files in dataset_dir are not the same"


# ---------------------------------------------------------------------- gate


@pytest.fixture
def policy(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "policy.yaml").write_text(text)
        return "policy.yaml"

    return write


def test_gate_shows_every_rule_and_why_it_failed(evalx: Any, tmp_path: Path, policy: Any) -> None:
    run = make_run(tmp_path, math=Made(metrics=[metric(GOOD)]), code=Made(outcome=Outcome.FAILED, metrics=[]))
    rules = policy("require: [math, code]\nrules:\n  - {task: math, metric: accuracy, min: 0.8, min_lower_bound: 0.8}\n")
    done = evalx("gate", str(run.directory), "--policy", rules)
    assert done.code == 3
    assert [line.split() for line in done.out.splitlines()[1:]] == [
        ["passed", "math", "required", "scored"],
        ["FAILED", "code", "required", "failed"],
        ["passed", "math", "accuracy", "min", "0.8", "0.9167"],
        ["FAILED", "math", "accuracy", "min_lower_bound", "0.8", "lower", "bound", LOWER_BOUND],
    ]
    assert "policy.yaml:1: code: required: it broke\n" in done.err
    assert f"policy.yaml:3: math accuracy: min_lower_bound 0.8, found lower bound {LOWER_BOUND}\n" in done.err
    assert done.err.endswith(f"run {run.run_id}: gate failed, 2 of 4 checks\n")
    assert all(len(line) <= 80 for line in done.out.splitlines())


def test_gate_with_a_baseline_on_the_command_line(evalx: Any, tmp_path: Path, policy: Any) -> None:
    a, b = pair(tmp_path, math=Made(BAD))
    rules = policy("rules: [{task: math, not_worse: true}]\n")
    assert evalx("gate", b, "--policy", rules).code == 2
    done = evalx("gate", b, "--policy", rules, "--baseline", a)
    assert done.code == 3 and "-0.5833, worse" in done.out
    back = evalx("gate", a, "--policy", rules, "--baseline", b, "--json")
    assert back.code == 0 and back.json["passed"] is True and back.json["checks"][0]["found"] == "+0.5833, better"


@pytest.mark.parametrize("over", [False, True])
def test_gate_does_not_judge_what_is_not_over(evalx: Any, stored: Any, policy: Any, over: bool) -> None:
    run = stored("math")
    run.submit(0)
    if over:
        run.abandon()
    done = evalx("gate", "--policy", policy("require: [math]\n"))
    assert done.code == 8
    assert done.err == (
        f"error: run {run.run_id} is not over, so its scores are not all there\n hint: evalx status {run.run_id} says how it stands\n"
    )


def test_gate_refuses_a_wrong_policy_before_it_looks_at_a_run(evalx: Any, policy: Any) -> None:
    done = evalx("gate", "nothing", "--policy", policy("rules:\n  - task: math\n    mim: 0.5\n"))
    assert done.code == 2
    assert done.err == "error: policy.yaml:3 rules[0].mim: unknown key\n hint: did you mean 'min'?\n"
    said = evalx("gate", "--policy", "missing.yaml").err
    assert said.startswith("error: missing.yaml: cannot be read: No such file or directory\n hint: ")
