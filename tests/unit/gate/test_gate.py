"""The policy file, and which of its rules a run passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import fields
from tests.docs.markdown import DOCS, blocks
from tests.unit.compare.made import Made, make_run, metric

from evalx.compare.stats import Score, interval
from evalx.errors import ConfigError, ConfigErrors
from evalx.gate import Check, Rule, judge, read_policy
from evalx.model import Metric, Outcome
from evalx.results.kept import KeptRun

GOOD = [1.0] * 22 + [0.0] * 2
BAD = [1.0] * 8 + [0.0] * 16


def held(folder: Path, text: str, run: KeptRun, baseline: KeptRun | None = None) -> list[Check]:
    (folder / "policy.yaml").write_text(text)
    return judge(read_policy(folder / "policy.yaml", "given" if baseline else None), run, baseline)


def verdicts(checks: list[Check]) -> list[tuple[str, str, bool]]:
    return [(check.condition, check.found, check.passed) for check in checks]


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "requires: [a]\nrules:\n  - task: math\n    min: high\n    max_regresion: 0.1\n  - not_worse: true\n    max_regression: -1\n"
    )
    with pytest.raises(ConfigErrors) as found:
        read_policy(tmp_path / "policy.yaml")
    told = [(str(error.where).rpartition("/")[2], error.message, error.hint) for error in found.value.errors]
    assert told == [
        ("policy.yaml:1 requires", "unknown key", "did you mean 'require'?"),
        ("policy.yaml:4 rules[0].min", "expected a number, found 'high'", "such as min: 0.5"),
        ("policy.yaml:5 rules[0].max_regresion", "unknown key", "did you mean 'max_regression'?"),
        ("policy.yaml:6 rules[1].not_worse", "there is no baseline to compare with", "set baseline: RUN, or pass --baseline RUN"),
        ("policy.yaml:7 rules[1].max_regression", "must be at least 0, not -1", "leave max_regression out, if none is wanted"),
        ("policy.yaml:7 rules[1].max_regression", "there is no baseline to compare with", "set baseline: RUN, or pass --baseline RUN"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "checks nothing"),
        ("baseline: last\nrules: []\n", "checks nothing"),
        ("require: [a]\nrequire: [b]\n", "given twice"),
        ("require: !!python/object:os.system {}\n", "not allowed"),
        ("- a\n", "a mapping"),
    ],
)
def test_what_is_no_policy(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_policy(tmp_path / "policy.yaml")


def test_a_baseline_in_a_policy_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("baseline: runs/good\nrequire: [a]\n")
    assert read_policy(tmp_path / "policy.yaml").baseline == str(tmp_path / "runs/good")
    assert read_policy(tmp_path / "policy.yaml", "other").baseline == "other"


def test_the_policy_in_the_documentation_is_one(tmp_path: Path) -> None:
    (text,) = (block.text for block in blocks(DOCS / "how-to" / "ci.md") if block.language == "yaml")
    (tmp_path / "policy.yaml").write_text(text)
    policy = read_policy(tmp_path / "policy.yaml")
    told = (DOCS / "how-to" / "ci.md").read_text()
    assert len(policy.rules) == 3 and all(f"`{key.name}`" in told for key in fields(Rule))


def test_limits(tmp_path: Path) -> None:
    run = make_run(tmp_path, math=Made(GOOD))
    text = "rules:\n  - {task: math, metric: accuracy, min: 0.9, max: 0.92, min_lower_bound: 0.7}\n  - {task: math, min: 0.95}\n"
    checks = held(tmp_path, text, run)
    assert verdicts(checks) == [
        ("min 0.9", "0.9167", True),
        ("max 0.92", "0.9167", True),
        ("min_lower_bound 0.7", f"lower bound {(interval(Score(22 / 24, metric(GOOD).stderr, 24)) or (0,))[0]:.4f}", True),
        ("min 0.95", "0.9167", False),
    ]
    assert [check.line for check in checks] == [2, 2, 2, 3]


def test_a_perfect_score_over_few_questions_has_a_lower_bound_below_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, math=Made([1.0] * 10))
    (check,) = held(tmp_path, "rules: [{task: math, min_lower_bound: 0.8}]\n", run)
    assert not check.passed


def test_without_a_standard_error_there_is_no_lower_bound(tmp_path: Path) -> None:
    run = make_run(tmp_path, math=Made(metrics=[Metric("accuracy", 1.0)]))
    (check,) = held(tmp_path, "rules: [{task: math, min_lower_bound: 0.1}]\n", run)
    assert (check.found, check.passed) == ("no standard error", False)


def test_what_is_missing_has_failed(tmp_path: Path) -> None:
    run = make_run(tmp_path, math=Made(GOOD), code=Made(outcome=Outcome.FAILED, metrics=[]), late=Made(outcome=None, metrics=[]))
    text = "require: [math, code, late, maths]\nrules:\n  - {task: math, metric: acuracy, min: 0}\n  - {task: code}\n  - {min: 0}\n"
    found = [(check.task, check.condition, check.found, check.passed) for check in held(tmp_path, text, run)]
    assert found == [
        ("math", "required", "scored", True),
        ("code", "required", "failed", False),
        ("late", "required", "no result", False),
        ("maths", "required", "no such task", False),
        ("math", "min 0", "no such metric", False),
        ("code", "scored", "failed", False),
        ("math", "min 0", "0.9167", True),
        ("code", "min 0", "failed", False),
        ("late", "min 0", "no result", False),
    ]
    whys = {check.task: check.why for check in held(tmp_path, text, run) if not check.passed}
    assert str(whys["maths"]).endswith("did you mean 'math'?") and whys["code"] == "it broke"


@pytest.mark.parametrize(
    ("answers", "rule", "passed"),
    [
        (BAD, "max_regression: 0.6", True),
        (BAD, "max_regression: 0.5", False),
        (BAD, "not_worse: true", False),
        (GOOD, "max_regression: 0", True),
        (GOOD, "not_worse: true", True),
        ([1.0] * 21 + [0.0] * 3, "max_regression: 0.0", False),
        ([1.0] * 21 + [0.0] * 3, "not_worse: true", True),
        ([1.0] * 24, "max_regression: 0.0", True),
    ],
)
def test_against_a_baseline(tmp_path: Path, answers: Any, rule: str, passed: bool) -> None:
    run, baseline = make_run(tmp_path, math=Made(answers)), make_run(tmp_path, math=Made(GOOD))
    (check,) = held(tmp_path, f"rules: [{{task: math, {rule}}}]\n", run, baseline)
    assert check.passed is passed


def test_a_regression_of_exactly_what_is_allowed_passes(tmp_path: Path) -> None:
    baseline, run = (make_run(tmp_path, math=Made(metrics=[Metric("f1", value, 0.01)], samples=[])) for value in (0.80, 0.78))
    (check,) = held(tmp_path, "rules: [{task: math, max_regression: 0.02}]\n", run, baseline)
    assert 0.80 - 0.78 > 0.02 and check.passed


def test_less_is_better_in_regressions_too(tmp_path: Path) -> None:
    run, baseline = (make_run(tmp_path, math=Made(answers, lower=["accuracy"])) for answers in (BAD, GOOD))
    checks = held(tmp_path, "rules: [{task: math, max_regression: 0, not_worse: true}]\n", run, baseline)
    assert [check.passed for check in checks] == [True, True]


def test_what_cannot_be_compared_has_failed(tmp_path: Path) -> None:
    run, baseline = make_run(tmp_path, math=Made(GOOD, suite="x")), make_run(tmp_path, math=Made(GOOD), code=Made(GOOD))
    checks = held(tmp_path, "rules: [{not_worse: true}]\n", run, baseline)
    assert [(check.task, check.found, check.passed) for check in checks] == [
        ("math", "not comparable", False),
        ("code", "no such task", False),
    ]
    assert checks[0].why == "other suite: none in A, x in B"


def test_worse_without_a_standard_error_fails_and_better_passes(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, math=Made(metrics=[Metric("f1", value)], samples=[])) for value in (0.5, 0.4, 0.6)]
    text = "rules: [{task: math, not_worse: true}]\n"
    assert not held(tmp_path, text, runs[1], runs[0])[0].passed
    assert held(tmp_path, text, runs[2], runs[0])[0].passed


def test_a_rule_for_all_metrics_is_for_each(tmp_path: Path) -> None:
    run = make_run(tmp_path, math=Made(metrics=[metric(GOOD), metric(BAD, "exact")]))
    checks = held(tmp_path, "rules: [{min: 0.5}]\n", run)
    assert [(check.metric, check.passed) for check in checks] == [("accuracy", True), ("exact", False)]
