from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from evalx.errors import ConfigError
from evalx.harnesses.api import HarnessCommand, ResultError, Target
from evalx.harnesses.nemo_evaluator import RUN_CONFIG, SUITE_PACKAGES, NemoEvaluatorHarness
from evalx.model import Metric, Secret, Site
from evalx.tasks import all_tasks

from .conftest import Run, make_task

TARGET = Target("http://h/v1/chat/completions", "http://h/v1", "tiny")


def command(site: Site, target: Target = TARGET, **options: Any) -> HarnessCommand:
    return NemoEvaluatorHarness().command(make_task(task="gpqa", **options), target, site)


def config(site: Site, target: Target = TARGET, **options: Any) -> Any:
    return yaml.safe_load(command(site, target, **options).files[RUN_CONFIG])


def score(value: Any, **stats: Any) -> dict[str, Any]:
    return {"value": value, "stats": stats}


def parse(folder: Path, results: Any) -> tuple[Metric, ...]:
    text = results if isinstance(results, str) else yaml.safe_dump({"command": "x", "config": {}, "results": results, "target": {}})
    (folder / "results.yml").write_text(text)
    return NemoEvaluatorHarness().parse(make_task(), folder)


# --- the command ---


def test_the_run_configuration_is_complete(site: Site) -> None:
    assert config(attrs.evolve(site, workdir="/w/t1"), suite="simple_evals") == {
        "config": {"type": "simple_evals.gpqa", "output_dir": "/w/t1/results"},
        "target": {"api_endpoint": {"url": TARGET.url, "model_id": "tiny", "type": "chat"}},
    }


def test_params_and_overrides_of_the_user_are_kept_and_overrides_win(site: Site) -> None:
    params = {
        "config": {"params": {"limit_samples": 5, "temperature": 1e-07, "extra": {"n": 1}}},
        "target": {"api_endpoint": {"adapter_config": {"a": "$x"}}},
    }
    found = config(site, params=params, overrides={"config.params.limit_samples": "7", "config.params.extra.args": "plain text"})
    assert found["config"]["params"] == {"limit_samples": 7, "temperature": 1e-07, "extra": {"n": 1, "args": "plain text"}}
    assert found["target"]["api_endpoint"]["adapter_config"] == {"a": "$x"}
    assert params["config"]["params"]["limit_samples"] == 5  # the plan's own data is not touched


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7", 7),
        ("1.0e-07", 1e-07),
        ("true", True),
        ("null", None),
        ("[a, b]", ["a", "b"]),
        ("a: [", "a: ["),
        ("2026-01-01", "2026-01-01"),
        ("2026-99-99", "2026-99-99"),
        (3, 3),
    ],
)
def test_text_in_overrides_is_read_as_yaml(site: Site, text: Any, meant: Any) -> None:
    assert config(site, overrides={"config.params.extra.x": text})["config"]["params"]["extra"]["x"] == meant


@pytest.mark.parametrize(
    "options",
    [
        {"params": {"target": {"api_endpoint": {"url": "http://elsewhere"}}}},
        {"overrides": {"target.api_endpoint.model_id": "other"}},
        {"params": {"config": {"output_dir": "/elsewhere"}}},
        {"overrides": {"config.type": "other"}},
        {"params": {"limit_samples": 5}},
        {"params": {"config": "x"}},
        {"overrides": {"config.params": 3, "config.params.limit_samples": 5}},
        {"params": ["x"]},
    ],
)
def test_settings_that_evalx_owns_or_nemo_does_not_know_are_refused(site: Site, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        command(site, **options)


def test_each_task_has_an_adapter_port_and_a_bounded_adapter(site: Site) -> None:
    env = command(site).env
    assert env["ADAPTER_PORT"] == str(site.adapter_port)
    assert env["ADAPTER_SERVER_THREADS"] == "32" and env["NEMO_EVALUATOR_TELEMETRY_LEVEL"] == "0"


def test_the_key_is_named_in_the_configuration_and_never_in_it(site: Site) -> None:
    made = command(site, attrs.evolve(TARGET, api_key=Secret("host:TOKEN")), api_key_name="MY_KEY")
    assert made.env["MY_KEY"] == Secret("host:TOKEN")
    assert yaml.safe_load(made.files[RUN_CONFIG])["target"]["api_endpoint"]["api_key_name"] == "MY_KEY"
    assert command(site).env["API_KEY"] == "none"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config.params.extra.args", "--x $(touch P)"),
        ("config.params.task", "a; b"),
        ("config.params.extra.deep", {"list": ["ok", "`id`"]}),
        ("config.params.extra.t", "{{ cycler }}"),
        ("config.params.extra.n", ["a\nb"]),
    ],
)
def test_values_that_a_shell_or_template_would_act_on_are_reported(site: Site, key: str, value: Any) -> None:
    (found,) = command(site, overrides={key: value}).shell_settings
    assert found.startswith(key)


def test_the_model_and_url_are_checked_as_well_and_harmless_text_is_not_reported(site: Site) -> None:
    assert command(site, attrs.evolve(TARGET, model="m$(id)")).shell_settings == ("target.api_endpoint.model_id",)
    assert command(site, attrs.evolve(TARGET, url="http://h/v1?a=1&b=2")).shell_settings == ("target.api_endpoint.url",)
    harmless = {"config": {"params": {"task": "MTEB(eng, v2)", "extra": {"judge": "http://j/v1", "args": "--a 'b c' --d {\"e\": 1}"}}}}
    assert command(site, params=harmless).shell_settings == ()


def test_a_folder_with_spaces_is_named_relatively(site: Site, tmp_path: Path) -> None:
    assert config(attrs.evolve(site, workdir=str(tmp_path / "a b")))["config"]["output_dir"] == "results"


@pytest.mark.parametrize("program", ["nemo-evaluator", "eval-factory"])
def test_older_containers_have_another_name_for_the_program(run: Run, site: Site, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    binaries = Path(site.workdir, "bin")
    binaries.mkdir()
    (binaries / program).write_text('#!/bin/sh\necho "${0##*/}" "$@"\n')
    (binaries / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}:/usr/bin:/bin")
    assert run(NemoEvaluatorHarness(), task="x").stdout.split() == [program, "run_eval", "--run_config", f"{site.workdir}/run_config.yml"]


# --- the results ---


def test_scores_of_one_task_are_named_by_metric_and_score(tmp_path: Path) -> None:
    scores = {"correct": score(0.7, count=20, mean=0.7, stderr=0.1025), "contains": score(0.8, count=20)}
    metrics = {
        "pass@1": {"scores": scores},
        "wer": {"scores": {"wer": score(0.2)}},
        "f1": {"scores": {"value": score(1, stderr=float("nan"))}},
    }
    assert parse(tmp_path, {"groups": {}, "tasks": {"mini_qa": {"metrics": metrics}}}) == (
        Metric("f1", 1.0),
        Metric("pass@1/contains", 0.8, None, 20),
        Metric("pass@1/correct", 0.7, 0.1025, 20),
        Metric("wer", 0.2),
    )


def test_groups_groups_in_groups_and_several_tasks_are_told_apart(tmp_path: Path) -> None:
    def metrics(value: float) -> dict[str, Any]:
        return {"metrics": {"acc": {"scores": {"acc": score(value)}}}}

    results = {
        "groups": {"all": {**metrics(50.0), "groups": {"math": metrics(40.0)}}, "bare": {"metrics": {}}},
        "tasks": {"a": metrics(0.1), "b": metrics(0.2)},
    }
    names = {metric.name: metric.value for metric in parse(tmp_path, results)}
    assert names == {"group:all/acc": 50.0, "group:all/math/acc": 40.0, "a/acc": 0.1, "b/acc": 0.2}


def one(value: Any) -> dict[str, Any]:
    return {"tasks": {"t": {"metrics": {"m": {"scores": {"s": value}}}}}}


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        ("a: [", "not YAML"),
        ("just text", "no `results`"),
        ("results: null", "no `results`"),
        ({}, "no scores"),
        ({"tasks": {}, "groups": {}}, "no scores"),
        ({"tasks": ["t"]}, "tasks is not a mapping"),
        ({"tasks": {"t": {"metrics": "m"}}}, "metrics is not a mapping"),
        (one(0.5), "not a score with a value"),
        (one(score(None)), "not a number"),
        (one(score("0.5")), "not a number"),
        (one(score(float("nan"))), "not finite"),
        (one(score(0.5, count=0)), "zero samples"),
        (one(score(0.5, count="20")), "natural number"),
        ("results: {tasks: {t: {metrics: {m: {scores: {s: {value: 0.", "not YAML"),
        ("results:\n  tasks:\n    t:\n      metrics:\n        m:\n          scores:\n            s:\n              value: 0.", "cut off"),
        ("[" * 100_000, "nested"),
        ("{a: " * 5_000, "nested"),
        ("".join(" " * n + "a:\n" for n in range(500)), "nested"),
        ("target: {}\nresults: &r\n  groups: {g: *r}\n", "more than 10000 groups"),
        ("a: &a {x: 1}\nresults: {<<: *a}\n", "merge keys"),
        ("results: !!python/object/apply:os.system ['touch PWNED']\n", "not YAML"),
        ("results: {tasks: {t: !!int ''}}\n", "not YAML"),
        ("results: " + "9" * 10_000, "not YAML"),
    ],
)  # fmt: skip
def test_what_is_no_result_is_refused_with_a_reason(tmp_path: Path, results: Any, complaint: str) -> None:
    with pytest.raises(ResultError, match=complaint):
        parse(tmp_path, results)
    assert not (Path.cwd() / "PWNED").exists()


def test_one_score_over_zero_samples_does_not_spoil_the_others(tmp_path: Path) -> None:
    metrics = {"a": {"scores": {"a": score(0.0, count=0)}}, "b": {"scores": {"b": score(0.5, count=9)}}}
    assert parse(tmp_path, {"tasks": {"t": {"metrics": metrics}}}) == (Metric("b", 0.5, None, 9),)


def test_aliases_to_aliases_end_in_time(tmp_path: Path) -> None:
    """Nine references to nine references, twenty times over: 10^19 groups if each is visited."""
    layers = [f"g{n}: &g{n} {{groups: {{{', '.join(f'c{m}: *g{n - 1}' for m in range(9))}}}}}" for n in range(1, 20)]
    with pytest.raises(ResultError, match="groups"):
        parse(tmp_path, "\n".join(["g0: &g0 {}", *layers, "results: {groups: {g: *g19}}", "target: {}"]))


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: path.symlink_to("/etc/passwd"), lambda path: path.mkdir()])
def test_only_a_regular_file_is_read(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "results.yml")
    with pytest.raises(ResultError, match="cannot be read"):
        NemoEvaluatorHarness().parse(make_task(), tmp_path)


def test_a_missing_or_huge_file_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"results\.yml is missing"):
        NemoEvaluatorHarness().parse(make_task(), tmp_path)
    with (tmp_path / "results.yml").open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(ResultError, match="larger than 16 MiB"):
        NemoEvaluatorHarness().parse(make_task(), tmp_path)


@pytest.mark.parametrize(
    ("suite", "packages"),
    [
        ("lm-evaluation-harness", ("nemo-evaluator", "nvidia-lm-eval")),
        (None, ("nemo-evaluator",)),
        ("a suite of which nothing is known", ()),
    ],
)
def test_what_pip_installs_for_a_task(suite: str | None, packages: tuple[str, ...]) -> None:
    assert NemoEvaluatorHarness().packages(make_task(task="ifeval", suite=suite)) == packages


def test_the_suites_whose_packages_are_known_are_those_of_the_catalogue() -> None:
    assert set(SUITE_PACKAGES) <= {task.suite for task in all_tasks()}
