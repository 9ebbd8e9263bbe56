"""What is compared, how, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalx.compare import Comparison, Refusal, RunComparison, Verdict, compare
from evalx.errors import RunNotFound, StoreError
from evalx.harnesses.command import CommandHarness
from evalx.model import Metric, Outcome
from evalx.results.kept import kept_run, run_in

from .made import Made, make_run, metric, rows

GOOD = [1.0] * 22 + [0.0] * 2
BAD = [1.0] * 8 + [0.0] * 16


def both(folder: Path, a: Made, b: Made, **options: Any) -> RunComparison:
    return compare(make_run(folder, task=a), make_run(folder, task=b, **options))


def only(found: RunComparison) -> Comparison:
    (comparison,) = found.comparisons
    assert found.refusals == ()
    return comparison


def refused(found: RunComparison) -> tuple[str, ...]:
    (refusal,) = found.refusals
    assert found.comparisons == ()
    return refusal.reasons


# ---------------------------------------------------------------------- compared


def test_the_same_questions_are_paired(tmp_path: Path) -> None:
    found = only(both(tmp_path, Made(GOOD), Made(BAD)))
    assert (found.verdict, found.unpaired, found.estimate.n) == (Verdict.WORSE, None, 24)
    assert found.estimate.difference == pytest.approx(-14 / 24)
    assert found.estimate.interval and found.estimate.interval[1] < 0


def test_the_order_in_which_samples_were_written_does_not_matter(tmp_path: Path) -> None:
    found = [only(both(tmp_path, Made(GOOD), Made(BAD, samples=mixed))).estimate for mixed in (rows(BAD), rows(BAD)[::-1])]
    assert found[0] == found[1]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0]) | st.floats(0, 1), min_size=1, max_size=30))
def test_a_run_compared_with_itself_shows_nothing(tmp_path: Path, answers: list[float]) -> None:
    score = Metric("accuracy", sum(answers) / len(answers), 0.01, len(answers))
    run = make_run(tmp_path, task=Made(answers, metrics=[score]))
    assert only(compare(run, run)).verdict in (Verdict.NO_DIFFERENCE, Verdict.NO_TEST)


def test_without_samples_the_errors_have_to_do(tmp_path: Path) -> None:
    found = both(tmp_path, Made(GOOD), Made(BAD, samples=[]))
    assert only(found).unpaired == "there is no samples.jsonl"
    assert only(found).verdict is Verdict.WORSE
    assert found.notes["task"] == ("that the questions were the same cannot be checked",)


def test_samples_that_do_not_make_up_the_score_are_not_used(tmp_path: Path) -> None:
    found = only(both(tmp_path, Made(GOOD), Made(metrics=[metric(BAD)], samples=rows(GOOD))))
    assert found.unpaired == "the score is not the mean of the samples"
    assert found.estimate.difference == pytest.approx(-14 / 24)


def test_samples_of_one_and_scores_in_percent_belong_together(tmp_path: Path) -> None:
    a, b = (Made(metrics=[metric(answers, unit=100)], samples=rows(answers)) for answers in (GOOD, BAD))
    found = only(both(tmp_path, a, b))
    assert found.unpaired is None and found.estimate.difference == pytest.approx(-1400 / 24)


def test_a_question_asked_several_times_counts_once(tmp_path: Path) -> None:
    a, b = (Made(answers * 4, samples=rows(answers) * 4) for answers in (GOOD, BAD))
    found = only(both(tmp_path, a, b)).estimate
    assert found.n == 24 and "clustered" in found.method
    assert found.stderr == pytest.approx(only(both(tmp_path, Made(GOOD), Made(BAD))).estimate.stderr)


def test_one_question_in_two_prompts_is_two(tmp_path: Path) -> None:
    a, b = (Made(answers, samples=[{**row, "id": "same"} for row in rows(answers, prompt="{n}")]) for answers in (GOOD, BAD))
    found = only(both(tmp_path, a, b)).estimate
    assert found.n == 24 and "clustered" not in found.method


def test_a_score_of_other_samples_of_the_same_data_is_not_paired(tmp_path: Path) -> None:
    blank = [{**row, "scores": {}} for row in rows(GOOD)]
    half = [Metric("accuracy", 1.0, 0.1)]
    a = Made(metrics=half, samples=[*rows(GOOD)[:12], *blank[12:]])
    b = Made(metrics=half, samples=[*blank[:10], *rows(GOOD)[10:22], *blank[22:]])
    assert only(both(tmp_path, a, b)).unpaired == "not the same samples have this score"


def test_less_is_better_where_the_harness_says_so(tmp_path: Path) -> None:
    found = only(both(tmp_path, Made(GOOD, lower=["accuracy"]), Made(BAD, lower=["accuracy"])))
    assert found.lower_is_better and found.verdict is Verdict.BETTER


def test_verdicts_are_corrected_for_all_comparisons(tmp_path: Path) -> None:
    slightly = [1.0] * 16 + [0.0] * 8
    alone = only(both(tmp_path, Made(GOOD), Made(slightly)))
    same = {f"task{number}": Made(GOOD) for number in range(9)}
    among = compare(make_run(tmp_path, task=Made(GOOD), **same), make_run(tmp_path, task=Made(slightly), **same)).of("task", "accuracy")
    assert alone.verdict is Verdict.WORSE and isinstance(among, Comparison)
    assert among.estimate.p == alone.estimate.p
    assert among.adjusted == pytest.approx(10 * (alone.estimate.p or 0)) and among.verdict is Verdict.NO_DIFFERENCE


def test_where_a_program_lies_is_not_what_it_measures(tmp_path: Path) -> None:
    only(both(tmp_path, Made(GOOD), Made(GOOD, params={"command": ["python3", "/another/checkout/eval.py"]})))


# ---------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ({}, {"task": "other"}, "other task: none in A, other in B"),
        ({"suite": "x"}, {"suite": "y"}, "other suite: x in A, y in B"),
        ({"container": "i@sha256:aa"}, {"container": "i@sha256:bb"}, "other container image: i@sha256:aa in A, i@sha256:bb in B"),
        ({"endpoint_type": "chat"}, {"endpoint_type": "completions"}, "other endpoint type: chat in A, completions in B"),
        ({"facts": {"temperature": 0}}, {"facts": {"temperature": 0.7}}, "other facts.temperature: 0 in A, 0.7 in B"),
        ({"facts": {"revision": "v1"}}, {}, "other facts.revision: v1 in A, none in B"),
        ({}, {"params": {"command": ["python3", "/a/eval.py", "--hard"]}}, "other command: "),
        ({}, {"answers": GOOD[:20]}, "other number of samples: 24 in A, 20 in B"),
        ({"samples": rows(GOOD, target="{n}")}, {"samples": rows(GOOD, target="x{n}")}, "other data: 24 of 24 questions are not the same"),
        ({"samples": rows(GOOD, prompt="{n}")}, {"samples": rows(GOOD, prompt="{n}?")}, "other prompt: 24 of 24 questions were asked"),
        ({"samples": rows(GOOD)}, {"samples": [*rows(GOOD)[:23], {"id": "z", "scores": {"accuracy": 0}}]}, "other data: 1 of 24"),
        ({"samples": [], "data": "aa"}, {"samples": [], "data": "bb"}, "other data: the files in dataset_dir are not the same"),
    ],
)
def test_what_measured_something_else_is_refused(tmp_path: Path, a: Any, b: Any, reason: str) -> None:
    found = refused(both(tmp_path, Made(**{"answers": GOOD, **a}), Made(**{"answers": GOOD, **b})))
    assert len(found) == 1 and found[0].startswith(reason)


def test_the_rest_is_compared(tmp_path: Path) -> None:
    a = make_run(tmp_path, same=Made(GOOD), failed=Made(GOOD), gone=Made(GOOD), other=Made(GOOD, suite="x"))
    b = make_run(tmp_path, same=Made(BAD), failed=Made(GOOD, outcome=Outcome.FAILED), other=Made(GOOD), new=Made(GOOD))
    found = compare(a, b)
    assert [comparison.task for comparison in found.comparisons] == ["same"]
    reasons = {refusal.task: refusal.reasons for refusal in found.refusals}
    assert reasons == {
        "failed": ("it has no score in B: failed",),
        "gone": ("B has no such task",),
        "other": ("other suite: x in A, none in B",),
        "new": ("A has no such task",),
    }


def test_a_metric_that_only_one_has_and_one_over_fewer_samples_are_refused_alone(tmp_path: Path) -> None:
    a = Made(GOOD, metrics=[metric(GOOD), metric(GOOD, "f1"), metric(GOOD[:9], "part")])
    b = Made(GOOD, metrics=[metric(GOOD), metric(GOOD[:8], "part")])
    found = both(tmp_path, a, b)
    assert [comparison.metric for comparison in found.comparisons] == ["accuracy"]
    assert found.of("task", "f1") == Refusal("task", "f1", ("B has no such metric",))
    assert found.of("task", "part") == Refusal("task", "part", ("other number of samples: 9 in A, 8 in B",))


def test_what_may_matter_is_noted(tmp_path: Path) -> None:
    a = make_run(tmp_path, task=Made(GOOD, env={"LEVEL": "1", "X": "1"}, pre_cmd="make", container="eval:latest"))
    b = make_run(tmp_path, executor="lepton", task=Made(GOOD, env={"LEVEL": "2", "X": "1"}, container="eval:latest"))
    assert compare(a, b).notes["task"] == (
        "variables differ: LEVEL",
        "pre_cmd differs",
        "the image eval:latest is named by a tag, which may mean another image each time",
        "run by other executors: local, lepton",
    )


def test_an_image_that_only_one_names_is_noted(tmp_path: Path) -> None:
    found = both(tmp_path, Made(GOOD), Made(BAD, container="eval:1"))
    assert only(found).unpaired is None
    assert found.notes["task"] == ("only B names an image, eval:1: the versions of the harness may differ",)


def test_an_adapter_that_fails_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CommandHarness, "details", lambda *_: 1 / 0)
    found = only(both(tmp_path, Made(GOOD), Made(BAD)))
    assert found.unpaired == "details() of the harness command failed: ZeroDivisionError: division by zero"


def test_a_harness_that_is_not_installed_is_compared_by_its_settings(tmp_path: Path) -> None:
    a, b = Made(GOOD, harness="theirs", params={"level": 1}), Made(BAD, harness="theirs", params={"level": 1})
    found = only(both(tmp_path, a, b))
    assert found.unpaired == "the harness theirs is not installed here" and found.verdict is Verdict.WORSE
    other = Made(BAD, harness="theirs", params={"level": 2})
    assert refused(both(tmp_path, a, other)) == ("other params.level: 1 in A, 2 in B",)


def test_samples_that_are_damaged_are_as_if_there_were_none(tmp_path: Path) -> None:
    a, b = make_run(tmp_path, task=Made(GOOD)), make_run(tmp_path, task=Made(GOOD))
    (b.directory / "tasks/000-task/results/samples.jsonl").write_text('{"id": "q0", "scores": {"accuracy": 1}}\nnonsense\n')
    assert str(only(compare(a, b)).unpaired).startswith("samples.jsonl:2 is not JSON")


# ---------------------------------------------------------------------- run directories


def test_a_copied_run_directory_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, task=Made(GOOD))
    shutil.copytree(run.directory, tmp_path / "copied")
    monkeypatch.chdir(tmp_path)
    for text in ("copied", "./copied", str(tmp_path / "copied")):
        found = kept_run(text)
        assert (found.run_id, found.closed, len(found.tasks), found.models) == (run.run_id, True, 1, ["m"])


def test_the_newest_attempt_counts(tmp_path: Path) -> None:
    run = make_run(tmp_path, task=Made(GOOD))
    again = run.directory / "tasks" / "000-task-r1"
    shutil.copytree(run.tasks[0].folder, again)
    document = json.loads((again / "result.json").read_text())
    document["result"]["spec"]["attempt"], document["result"]["metrics"][0]["value"] = 1, 0.25
    (again / "result.json").write_text(json.dumps(document))
    (task,) = run_in(run.directory).tasks
    assert (task.folder, task.result.metrics[0].value) == (again, 0.25)


def test_a_run_that_goes_on_is_not_closed(tmp_path: Path) -> None:
    run = make_run(tmp_path, task=Made(GOOD, outcome=None), closed=False)
    assert not run.closed and run.tasks == ()
    with (run.directory / "events.jsonl").open("a") as events:
        events.write('{"kind": "run", "state": "clo')
    assert not run_in(run.directory).closed


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match="not a run directory"):
        kept_run(f"{tmp_path}/nothing")
    with pytest.raises(RunNotFound, match="no run"):
        kept_run("nothing")
    run = make_run(tmp_path, task=Made(GOOD))
    (run.directory / "plan.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        run_in(run.directory)
