"""Formats that belong to others, without their services: `.eval_results` of the Hugging Face Hub, and Every Eval Ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest
import yaml

from evalx.errors import ConfigError, ConfigErrors
from evalx.exporters.account import RunAccount
from evalx.exporters.running import export
from evalx.model import Metric, Outcome
from evalx.testing import ExporterConformance
from evalx.testing.exporters import Scores, example

SCHEMA = json.loads((Path(__file__).parent / "every_eval_ever-0.3.0" / "eval.schema.json").read_text())
GPQA = {"dataset": "Idavidrein/gpqa", "task_id": "gpqa_diamond", "metric": "accuracy"}
WHO = {"organization": "ACME"}


class TestHuggingFace(ExporterConformance):
    exporter = "huggingface"

    def options(self, run: RunAccount, place: Path) -> Mapping[str, Any]:
        return {"benchmarks": {task.name: {**GPQA, "task_id": task.name} for task, _ in run.tasks()}}

    def scores(self, place: Path) -> Scores:
        entries = yaml.safe_load((place / "evalx.yaml").read_text())
        assert all(entry["dataset"]["id"] == "Idavidrein/gpqa" for entry in entries)
        return {(entry["dataset"]["task_id"], "accuracy"): entry["value"] for entry in entries}

    def expected(self, run: RunAccount) -> Scores:
        return {key: value for key, value in super().expected(run).items() if key[1] == "accuracy"}


class TestEveryEvalEver(ExporterConformance):
    exporter = "every_eval_ever"

    def options(self, run: RunAccount, place: Path) -> Mapping[str, Any]:
        return WHO

    def scores(self, place: Path) -> Scores:
        record = json.loads((place / "every_eval_ever.json").read_text())
        validate(record)
        results = record["evaluation_results"]
        return {(one["evaluation_name"], one["metric_config"]["metric_name"]): one["score_details"]["score"] for one in results}


def validate(record: Any) -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(record)


def record_of(run: RunAccount, folder: Path, **options: Any) -> Any:
    export("every_eval_ever", run, folder / "record.json", {**WHO, **options})
    record = json.loads((folder / "record.json").read_text())
    validate(record)
    return record


def hub_of(run: RunAccount, folder: Path, **options: Any) -> Any:
    export("huggingface", run, folder / "evalx.yaml", options)
    return yaml.safe_load((folder / "evalx.yaml").read_text())


def test_the_validator_would_notice(tmp_path: Path) -> None:
    record = record_of(example(tmp_path), tmp_path)
    del record["evaluation_results"][0]["metric_config"]["lower_is_better"]
    with pytest.raises(jsonschema.ValidationError):
        validate(record)


def test_a_record_says_who_what_and_how_certain(tmp_path: Path) -> None:
    record = record_of(example(tmp_path), tmp_path, relationship="third_party", model_id="org/Tiny-1B", model_availability="open_weights")
    assert record["source_metadata"]["evaluator_relationship"] == "third_party"
    assert record["model_info"]["id"] == "org/Tiny-1B"
    assert record["model_info"]["name"] == "org/tiny-1b"
    assert record["model_info"]["inference_engine"] == {"name": "vllm"}
    assert record["model_info"]["additional_details"] == {"deployment_type": "self_deployed", "model_availability": "open_weights"}
    assert record["eval_library"]["name"] == "lm_eval"
    accuracy, f1, *_ = record["evaluation_results"]
    assert accuracy["score_details"]["uncertainty"] == {"standard_error": {"value": 0.079}, "num_samples": 40}
    assert "uncertainty" not in f1["score_details"]
    assert accuracy["generation_config"]["additional_details"] == {"limit": "40"}


@pytest.mark.parametrize(
    ("metric", "lower"),
    [("accuracy", False), ("word_perplexity,none", True), ("group:wer/mean", True), ("latency", True), ("perplexity_reduction", False)],
)
def test_less_is_better_where_it_is(metric: str, lower: bool, tmp_path: Path) -> None:
    run = example(tmp_path, outcomes=(Outcome.PASSED,))
    run = attrs.evolve(run, results=tuple(attrs.evolve(one, metrics=(Metric(metric, 1.0),)) for one in run.results))
    (result,) = record_of(run, tmp_path, lower_is_better=["latency"])["evaluation_results"]
    assert result["metric_config"]["lower_is_better"] is lower


def test_an_entry_of_the_hub_has_what_was_said_of_it(tmp_path: Path) -> None:
    benchmark = {**GPQA, "scale": 100, "revision": "abc", "notes": "no-tools"}
    (entry,) = hub_of(
        example(tmp_path),
        tmp_path,
        benchmarks={"task-0": benchmark},
        source_url="https://example.org/run",
        source_name="Logs",
        source_user="me",
    )
    assert entry.pop("value") == pytest.approx(45.0)
    assert datetime.fromisoformat(entry.pop("date")).tzinfo is not None
    assert entry == {
        "dataset": {"id": "Idavidrein/gpqa", "task_id": "gpqa_diamond", "revision": "abc"},
        "source": {"url": "https://example.org/run", "name": "Logs", "user": "me"},
        "notes": "no-tools",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "mandatory"),
        ({"benchmarks": {"task-0": {"dataset": "a/b"}}}, "task_id"),
        ({"benchmarks": {"taks-0": GPQA}}, "no task 'taks-0'"),
        ({"benchmarks": {"task-0": {**GPQA, "metric": None}}}, "has several scores"),
        ({"benchmarks": {"task-0": {**GPQA, "metric": "f2"}}}, "no score 'f2'"),
        ({"benchmarks": {}, "source_name": "Logs"}, "without source_url"),
    ],
)
def test_what_the_hub_cannot_take_is_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ConfigErrors), match=said):
        hub_of(example(tmp_path), tmp_path, **options)
    assert not (tmp_path / "evalx.yaml").exists()
