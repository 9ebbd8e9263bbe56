from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from evalx.errors import ConfigError
from evalx.harnesses.api import HarnessCommand, ResultError, Target
from evalx.harnesses.lm_eval import CONFIG_FILE, LmEvalHarness
from evalx.model import Metric, Secret, Site

from .conftest import AnyCommand, Run, make_task

TARGET = Target("http://h/v1/chat/completions", "http://h/v1", "org/model,v=2")


def command(site: Site, target: Target = TARGET, task: str = "gsm8k", **params: Any) -> HarnessCommand:
    return LmEvalHarness().command(make_task(task=task, params=params), target, site)


def config(site: Site, target: Target = TARGET, task: str = "gsm8k", **params: Any) -> Any:
    return yaml.safe_load(command(site, target, task, **params).files[CONFIG_FILE])


def parse(folder: Path, document: Any, name: str = "results_2026-01-01T00-00-00.json") -> tuple[Metric, ...]:
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return LmEvalHarness().parse(make_task(), folder)


def test_the_configuration_is_complete_and_commas_mean_nothing(site: Site) -> None:
    assert config(site, task="a,b", limit=5, num_concurrent=4, gen_kwargs={"until": ["a,b=c"], "temperature": 1e-07}) == {
        "model": "local-chat-completions",
        "model_args": {"num_concurrent": 4, "model": "org/model,v=2", "base_url": TARGET.url},
        "tasks": ["a", "b"],
        "gen_kwargs": {"until": ["a,b=c"], "temperature": 1e-07},
        "limit": 5,
        "apply_chat_template": True,
        "output_path": site.results,
        "log_samples": True,
    }


def test_overrides_win(site: Site) -> None:
    task = make_task(task="a", params={"limit": 5, "gen_kwargs": {"top_p": 1}}, overrides={"limit": "7", "gen_kwargs.temperature": 0})
    found = yaml.safe_load(LmEvalHarness().command(task, TARGET, site).files[CONFIG_FILE])
    assert (found["limit"], found["gen_kwargs"]) == (7, {"top_p": 1, "temperature": 0})


def test_completions_are_asked_without_a_chat_template(site: Site) -> None:
    target = attrs.evolve(TARGET, url="http://h/v1/completions", endpoint_type="completions")
    found = config(site, target, tokenizer="/models/t", model_args={"eos_string": "</s>"})
    assert found["model"] == "local-completions" and "apply_chat_template" not in found
    assert found["model_args"]["tokenizer"] == "/models/t" and found["model_args"]["eos_string"] == "</s>"


def test_the_key_is_in_the_variable_lm_eval_reads(site: Site) -> None:
    assert command(site, attrs.evolve(TARGET, api_key=Secret("host:K"))).env == {"OPENAI_API_KEY": Secret("host:K")}
    assert command(site).env == {"OPENAI_API_KEY": "none"}


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"limitt": 5}, "limitt"),
        ({"model_args": {"base_url": "http://elsewhere"}}, "base_url is set by evalx"),
        ({"model_args": "num_concurrent=4"}, "model_args must be a mapping"),
        ({"include_path": "tasks"}, "relative"),
        ({"use_cache": "cache"}, "relative"),
    ],
)
def test_wrong_settings_are_refused(site: Site, params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        command(site, **params)
    assert caught.value.hint


def test_endpoints_it_cannot_ask_are_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="embedding"):
        command(site, attrs.evolve(TARGET, endpoint_type="embedding"))


@pytest.mark.parametrize("with_data", [False, True])
def test_it_runs_where_its_data_is(run: Run, site: Site, with_data: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    binaries, data = Path(site.workdir, "bin"), Path(site.workdir, "-my data")
    binaries.mkdir()
    data.mkdir()
    (binaries / "lm_eval").write_text('#!/bin/sh\npwd\necho "$@"\n')
    (binaries / "lm_eval").chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}:/usr/bin:/bin")
    made = command(attrs.evolve(site, dataset_dir=str(data)) if with_data else site)
    assert run(AnyCommand(made.argv)).stdout.splitlines() == [
        str(data) if with_data else site.workdir,
        f"run --config {site.workdir}/{CONFIG_FILE}",
    ]


RESULT = {
    "results": {
        "g_a": {"alias": "g_a", "sample_len": 3, "exact_match,strict": 0.5, "exact_match_stderr,strict": 0.1, "exact_match,flexible": 1},
        "g_b": {"alias": "g_b", "acc,none": 0.25, "acc_stderr,none": "N/A"},
        "g_all": {"alias": "g_all", "acc,none": 0.4, "acc_stderr,none": 0.05, "sample_count": {"acc,none": 8}},
        "g_bare": {"alias": "g_bare", "acc,none": " "},
    },
    "groups": {"g_all": {"acc,none": 0.4}},
    "group_subtasks": {"g_bare": ["g_all"], "g_all": ["g_a", "g_b"]},
    "n-samples": {"g_a": {"original": 20, "effective": 3}, "g_b": {"original": 20, "effective": 5}},
}


def test_tasks_filters_and_groups_are_told_apart(tmp_path: Path) -> None:
    assert parse(tmp_path, RESULT) == (
        Metric("g_a/exact_match/strict", 0.5, 0.1, 3),
        Metric("g_a/exact_match/flexible", 1.0, None, 3),
        Metric("g_b/acc", 0.25, None, 5),
        Metric("group:g_all/acc", 0.4, 0.05, 8),
    )


def test_one_task_needs_no_prefix(tmp_path: Path) -> None:
    document = {
        "results": {"t": {"acc,none": 0.5, "acc_stderr,none": 0.1}},
        "n-samples": {"t": {"effective": 4}},
        "group_subtasks": {"t": []},
    }
    assert parse(tmp_path, document) == (Metric("acc", 0.5, 0.1, 4),)


def test_the_last_result_file_counts(tmp_path: Path) -> None:
    parse(tmp_path, {"results": {"t": {"acc,none": 0.1}}}, "results_2026-01-01T00-00-00.000001.json")
    assert parse(tmp_path, {"results": {"t": {"acc,none": 0.9}}}, "results_2026-01-02T00-00-00.json")[0].value == 0.9


def test_groups_that_contain_themselves_end(tmp_path: Path) -> None:
    members = {"g": ["g", *["h"] * 100, "t"], "h": ["g", "h", "t"] * 100}
    document = {"results": {"g": {"acc,none": 0.5}}, "group_subtasks": members, "n-samples": {"t": {"effective": 4}}}
    assert parse(tmp_path, document) == (Metric("group:g/acc", 0.5, None, 4),)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("nonsense", "not JSON"),
        ({"results": []}, "'results' is not an object"),
        ([], "'results' is not an object"),
        ({"results": {}}, "no scores"),
        ({"results": {"t": {"alias": "t"}}}, "no scores"),
        ({"results": {"t": [1]}}, "not an object"),
        ({"results": {"t": {"acc,none": "N/A"}}}, "not a number"),
        ({"results": {"t": {"ppl,none": float("inf")}}}, "not finite"),
        ({"results": {"t": {"acc,none": 0.0}}, "n-samples": {"t": {"effective": 0}}}, "zero samples"),
    ],
)
def test_what_is_no_result_is_refused_with_a_reason(tmp_path: Path, document: Any, complaint: str) -> None:
    with pytest.raises(ResultError, match=complaint):
        parse(tmp_path, document)


def test_no_file_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "samples_t_2026.jsonl").write_text("{}")
    with pytest.raises(ResultError, match="no result file"):
        LmEvalHarness().parse(make_task(), tmp_path)
