"""What adapters read beside scores: facts, directions, single samples; from files of the form that tests/harnesses makes for real."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalx.harnesses.api import Details, ResultError
from evalx.harnesses.command import CommandHarness
from evalx.harnesses.lm_eval import LmEvalHarness
from evalx.harnesses.nemo_evaluator import NemoEvaluatorHarness

from .conftest import make_task

STAMP = "2026-01-01T00-00-00.000001"


def lines(path: Path, *rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# ---------------------------------------------------------------------- NeMo Evaluator


def nemo(folder: Path, tasks: dict[str, dict[str, float]], groups: dict[str, dict[str, float]] | None = None, **params: Any) -> Details:
    def parts(found: dict[str, dict[str, float]]) -> Any:
        return {
            name: {"metrics": {key: {"scores": {key: {"value": value}}} for key, value in metrics.items()}}
            for name, metrics in found.items()
        }

    interceptors = [
        {"name": "caching", "enabled": True, "config": {"cache_dir": str(folder)}},
        {"name": "system_message", "enabled": True, "config": {"system_message": "Be brief."}},
        {"name": "reasoning", "enabled": False, "config": {"end": "</think>"}},
    ]
    document = {
        "config": {"type": "t", "output_dir": str(folder), "params": {"temperature": 0.0, "parallelism": 4, **params}},
        "results": {"tasks": parts(tasks), "groups": parts(groups or {})},
        "target": {"api_endpoint": {"url": "http://127.0.0.1:1", "adapter_config": {"interceptors": interceptors}}},
    }
    (folder / "results.yml").write_text(yaml.safe_dump(document))
    return NemoEvaluatorHarness().details(make_task(), folder)


def prediction(number: int, right: bool, **metadata: Any) -> dict[str, Any]:
    return {
        "sample_id": number,
        "prompt": f"Question {number}",
        "response": "?",
        "target": "4",
        "scores": {"contains": right, "exact": False, "pass@1": right},
        "metadata": {"id": number, **metadata},
    }


def test_facts_are_what_took_effect_and_not_how_fast(tmp_path: Path) -> None:
    found = nemo(tmp_path, {"t": {"acc": 1.0}}, limit_samples=10, max_retries=3, extra={"judge": {"model": "j", "url": "http://j"}})
    assert found.facts == {
        "config.type": "t",
        "params.temperature": 0.0,
        "params.limit_samples": 10,
        "params.extra.judge.model": "j",
        "adapter.system_message.system_message": "Be brief.",
    }
    assert found.samples == () and "no scores of single samples" in str(found.missing)


def test_predictions_of_its_own_runner(tmp_path: Path) -> None:
    lines(tmp_path / "t" / "byob_predictions.jsonl", prediction(0, True), prediction(1, False))
    one, other = nemo(tmp_path, {"t": {"pass@1": 0.5}}).samples
    assert one.scores == {"pass@1/contains": 1.0, "pass@1/exact": 0.0, "pass@1": 1.0} and other.scores["pass@1"] == 0.0
    assert one.target == other.target and one.question != other.question and one.prompt != other.prompt


def test_a_repeated_question_is_the_same_question(tmp_path: Path) -> None:
    rows = [prediction(0, True, _repeat=0), {**prediction(0, False, _repeat=1), "sample_id": 1}]
    lines(tmp_path / "t" / "byob_predictions.jsonl", *rows)
    one, other = nemo(tmp_path, {"t": {"pass@1": 0.5}}).samples
    assert (one.question, one.target, one.prompt) == (other.question, other.target, other.prompt)


def test_lm_evaluation_harness_inside_its_container(tmp_path: Path) -> None:
    lm_eval_files(tmp_path / "t" / "model")
    scores = {"exact_match__strict": 0.5, "acc": 0.5, "perplexity": 2.0}
    found = nemo(tmp_path, {"mini": scores}, {"mini": scores})  # its parser lists tasks as groups too, if there are none
    names = {metric.name for metric in NemoEvaluatorHarness().parse(make_task(), tmp_path)}
    assert found.samples[0].scores.keys() == names and len(names) == 6
    assert found.lower_is_better == {"perplexity", "group:mini/perplexity"}
    assert found.facts["n-shot.mini"] == 5 and found.facts["params.temperature"] == 0.0


# ---------------------------------------------------------------------- lm-evaluation-harness


def lm_eval_files(folder: Path, tasks: tuple[str, ...] = ("mini",), groups: dict[str, list[str]] | None = None, **more: Any) -> None:
    scores = {"exact_match,strict": 0.5, "exact_match_stderr,strict": 0.1, "acc,none": 0.5, "perplexity,none": 2.0}
    document = {
        "results": {name: {"alias": name, **scores} for name in [*tasks, *(groups or {})]},
        "groups": {name: {"acc,none": 0.5} for name in groups or {}},
        "group_subtasks": groups or {},
        "configs": {name: {"task": name, "doc_to_text": "<function f at 0x7f00>", "metadata": {"base_url": str(folder)}} for name in tasks},
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 5),
        "higher_is_better": {name: {"exact_match": True, "acc": True, "perplexity": False} for name in tasks},
        "n-samples": {name: {"original": 2, "effective": 2} for name in tasks},
        "config": {"limit": 2, "model_args": {"model": "m", "base_url": "http://127.0.0.1:1", "max_length": 99}},
        "lm_eval_version": "0.4.13",
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"results_{STAMP}.json").write_text(json.dumps(document))
    for name in tasks:
        rows = [lm_eval_row(number, filtered) for filtered in ("strict", "none") for number in range(2)]
        lines(folder / f"samples_{name}_{STAMP}.jsonl", *rows)


def lm_eval_row(number: int, filtered: str) -> dict[str, Any]:
    hashes = {"doc_hash": f"d{number}", "prompt_hash": f"p{number}", "target_hash": "t"}
    scores = {"exact_match": 1.0 - number} if filtered == "strict" else {"acc": 1 - number, "perplexity": 2.0, "tokens": [1, 2]}
    return {"doc_id": number, "doc": {}, "resps": [["4"]], "filter": filtered, "metrics": list(scores), **hashes, **scores}


def test_the_rows_of_all_filters_are_one_sample(tmp_path: Path) -> None:
    lm_eval_files(tmp_path / "model")
    found = LmEvalHarness().details(make_task(), tmp_path)
    assert [sample.scores for sample in found.samples] == [
        {"exact_match/strict": 1.0, "acc": 1.0, "perplexity": 2.0},
        {"exact_match/strict": 0.0, "acc": 0.0, "perplexity": 2.0},
    ]
    assert (found.samples[0].question, found.samples[0].target, found.samples[0].prompt) == ("mini:d0", "t", "p0")
    assert found.lower_is_better == {"perplexity"} and found.missing is None


def test_samples_count_for_the_groups_of_their_task(tmp_path: Path) -> None:
    lm_eval_files(tmp_path, ("a", "b", "c"), {"outer": ["inner", "c"], "inner": ["a"]})
    found = LmEvalHarness().details(make_task(), tmp_path)
    by_question = {sample.question: {name for name in sample.scores if name.endswith("acc")} for sample in found.samples}
    assert by_question["a:d0"] == {"a/acc", "group:inner/acc", "group:outer/acc"}
    assert by_question["b:d0"] == {"b/acc"} and by_question["c:d1"] == {"c/acc", "group:outer/acc"}
    assert "group:outer/perplexity" in found.lower_is_better
    names = {metric.name for metric in LmEvalHarness().parse(make_task(), tmp_path)}
    assert {name for sample in found.samples for name in sample.scores} <= names


def test_its_facts_hold_the_task_and_neither_model_nor_addresses(tmp_path: Path) -> None:
    lm_eval_files(tmp_path)
    facts = LmEvalHarness().details(make_task(), tmp_path).facts
    assert facts["config.limit"] == 2 and facts["versions.mini"] == 1.0 and facts["model_args.max_length"] == 99
    assert facts["mini.doc_to_text"] == "<function f>" and "mini.metadata" not in facts
    assert not [key for key in facts if "base_url" in key or key == "model_args.model"]


# ---------------------------------------------------------------------- command


def command(folder: Path, *rows: Any, **document: Any) -> Details:
    metrics = [{"name": "accuracy", "value": 0.5}, {"name": "errors", "value": 3, "higher_is_better": False}]
    (folder / "results.json").write_text(json.dumps({"schema": 1, "metrics": metrics, **document}))
    if rows:
        lines(folder / "samples.jsonl", *rows)
    task = make_task(params={"command": ["python3", "/evals/math.py", "--level=2"]})
    return CommandHarness().details(task, folder)


def test_what_a_program_of_ones_own_tells(tmp_path: Path) -> None:
    found = command(tmp_path, {"id": 1, "scores": {"accuracy": True}}, {"prompt": "2 + 2", "scores": {"accuracy": 0}}, facts={"data": "v2"})
    assert found.facts == {"command": ["python3", "math.py", "--level=2"], "facts.data": "v2"}
    assert found.lower_is_better == {"errors"}
    assert [sample.scores for sample in found.samples] == [{"accuracy": 1.0}, {"accuracy": 0.0}]
    assert found.samples[0].question and not found.samples[1].question and found.samples[1].prompt


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ({"scores": {"accuracy": 1}}, "at least one of"),
        ({"id": "a", "scores": [1]}, "an object"),
        ([1], "is not an object"),
    ],
)
def test_damaged_samples_are_none_and_say_why(tmp_path: Path, row: Any, missing: str) -> None:
    found = command(tmp_path, {"id": "b", "scores": {}}, row)
    assert found.samples == () and missing in str(found.missing)


def test_scores_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    scores = {"a": None, "b": "1", "c": [1], "d": float("nan"), "e": float("inf"), "f": 10**400, "g": 1e300, "h": 0.5}
    (sample,) = command(tmp_path, {"id": 1, "scores": scores}).samples
    assert sample.scores == {"h": 0.5}


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"[" * 100_000 + b"\n", b'{"id": 1e999999, "scores": ' + b"1" * 5000 + b"}\n"])
def test_hostile_samples_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "samples.jsonl").write_bytes(content)
    assert command(tmp_path).samples == ()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    lines(tmp_path / "elsewhere", {"id": 1, "scores": {"accuracy": 1}})
    results = tmp_path / "results"
    results.mkdir()
    os.symlink(tmp_path / "elsewhere", results / "samples.jsonl")
    found = command(results)
    assert found.samples == () and "cannot be read" in str(found.missing)


def test_aliases_that_repeat_each_other_are_refused(tmp_path: Path) -> None:
    levels = "".join(f"  l{n}: &l{n} {{a: *l{n - 1}, b: *l{n - 1}}}\n" for n in range(1, 40))
    scores = "results: {tasks: {t: {metrics: {m: {scores: {m: {value: 1}}}}}}}\ntarget: {}\n"
    (tmp_path / "results.yml").write_text(f"config:\n  l0: &l0 {{a: 1}}\n{levels}  params: *l39\n{scores}")
    with pytest.raises(ResultError, match="more than 1,000,000 values"):
        NemoEvaluatorHarness().details(make_task(), tmp_path)


def test_without_a_result_there_are_no_details(tmp_path: Path) -> None:
    for harness in (CommandHarness(), LmEvalHarness(), NemoEvaluatorHarness()):
        with pytest.raises(ResultError):
            harness.details(make_task(), tmp_path)
