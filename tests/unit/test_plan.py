"""Plans: what will happen, from a config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalx.config import load
from evalx.errors import ConfigErrors
from evalx.model import RunPlan, Secret
from evalx.plan import make_plan, merged, new_run_id, unique_names
from evalx.serial import from_json, to_json


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the plan of a config for the local executor; the argument's sections replace or extend the defaults."""
    monkeypatch.chdir(tmp_path)

    def plan(tasks: list[dict[str, Any]], **sections: dict[str, Any]) -> RunPlan:
        existing = {} if "deployment" in sections else {"url": "http://127.0.0.1:1/v1", "model_id": "tiny"}
        config = {
            "execution": {"type": "local", **sections.get("execution", {})},
            "deployment": sections.get("deployment", {"type": "none"}),
            "target": {"api_endpoint": sections.get("target", existing)},
            "evaluation": {"tasks": tasks, **sections.get("evaluation", {})},
        }
        Path("c.yaml").write_text(yaml.safe_dump(config))
        return make_plan(load("c.yaml"))

    return plan


SERVER = {"type": "vllm", "checkpoint_path": "/m", "served_model_name": "small"}


def test_run_ids_are_names_and_never_repeat() -> None:
    ids = {new_run_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(re.fullmatch(r"[a-z][a-z2-7]{10}", run_id) for run_id in ids)


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["a", "a-2", "a"], ["a", "a-2", "a-3"]),
        (["a", "a", "a-2"], ["a", "a-3", "a-2"]),
        (["a-2", "a-2", "a", "a"], ["a-2", "a-2-2", "a", "a-3"]),
    ],
)
def test_the_same_name_twice_gets_a_number(names: list[str], unique: list[str]) -> None:
    assert unique_names(names) == unique


def test_mappings_are_merged_deeply_and_left_alone() -> None:
    base = {"a": {"x": 1, "y": [1]}, "b": 1}
    assert merged(base, {"a": {"y": [2], "z": 3}, "b": {"c": 1}}) == {"a": {"x": 1, "y": [2], "z": 3}, "b": {"c": 1}}
    assert base == {"a": {"x": 1, "y": [1]}, "b": 1}


def test_each_task_gets_an_endpoint_of_its_own(plan: Any) -> None:
    made = plan([{"name": "ifeval"}, {"name": "ifeval"}], deployment=SERVER)
    assert [endpoint.name for endpoint in made.endpoints] == ["ifeval", "ifeval-2"]
    assert [(task.name, task.index, task.endpoint) for task in made.tasks] == [("ifeval", 0, "ifeval"), ("ifeval-2", 1, "ifeval-2")]
    assert {endpoint.model for endpoint in made.endpoints} == {"small"}


@pytest.mark.parametrize(
    ("endpoints", "names", "used"),
    [
        ("shared", ["model"], ["model", "model", "model"]),
        (2, ["model-1", "model-2"], ["model-1", "model-2", "model-1"]),
        (9, ["model-1", "model-2", "model-3"], ["model-1", "model-2", "model-3"]),
    ],
)
def test_endpoints_can_be_shared(plan: Any, endpoints: Any, names: list[str], used: list[str]) -> None:
    made = plan([{"name": "ifeval"}, {"name": "mmlu_pro"}, {"name": "ifeval"}], execution={"endpoints": endpoints}, deployment=SERVER)
    assert [endpoint.name for endpoint in made.endpoints] == names
    assert [endpoint.index for endpoint in made.endpoints] == list(range(len(names)))
    assert [task.endpoint for task in made.tasks] == used


def test_a_catalogue_task_is_planned_with_its_image_by_digest(plan: Any) -> None:
    (task,) = plan([{"name": "simple_evals.gpqa_diamond"}]).tasks
    assert task.name == "simple_evals.gpqa_diamond"
    assert (task.harness, task.options["task"], task.options["suite"]) == ("nemo_evaluator", "gpqa_diamond", "simple_evals")
    assert re.fullmatch(r".+@sha256:[0-9a-f]{64}", task.options["container"])
    assert (task.options["endpoint_type"], task.options["model"]) == ("chat", "tiny")


def test_the_users_container_and_harness_win(plan: Any) -> None:
    own, other = plan([{"name": "ifeval", "container": "me/mine:1"}, {"name": "arc_easy", "harness": "lm_eval"}]).tasks
    assert own.options["container"] == "me/mine:1"
    assert (other.harness, other.options["task"], other.options["suite"], other.options["container"]) == ("lm_eval", "arc_easy", None, None)


@pytest.mark.parametrize(
    ("task", "url", "expected"),
    [
        ({"name": "own", "harness": "lm_eval"}, "http://127.0.0.1:1/v1", "chat"),
        ({"name": "own", "harness": "lm_eval"}, "http://127.0.0.1:1/v1/completions", "completions"),
        ({"name": "own", "harness": "lm_eval"}, "http://127.0.0.1:1/v1/chat/completions/", "chat"),
        ({"name": "own", "harness": "lm_eval", "endpoint_type": "vlm"}, "http://127.0.0.1:1/v1/completions", "vlm"),
        ({"name": "ifeval"}, "http://127.0.0.1:1/v1/completions", "chat"),
    ],
)
def test_the_kind_of_endpoint(plan: Any, task: dict[str, Any], url: str, expected: str) -> None:
    (made,) = plan([task], target={"url": url, "model_id": "m"}).tasks
    assert made.options["endpoint_type"] == expected


def test_a_server_says_which_kinds_it_has(plan: Any) -> None:
    routes = {"health": "/health", "completions": "/v1/completions"}
    (made,) = plan([{"name": "own", "harness": "lm_eval"}], deployment={**SERVER, "endpoints": routes}).tasks
    assert made.options["endpoint_type"] == "completions"


def test_what_all_tasks_are_given_is_merged_with_their_own(plan: Any, tmp_path: Path) -> None:
    tasks = [
        {
            "name": "ifeval",
            "nemo_evaluator_config": {"config": {"params": {"top_p": 1}}},
            "overrides": {"config.params.seed": 2},
            "env_vars": {"B": "task", "C": "host:C"},
            "dataset_dir": ".",
            "pre_cmd": "true",
        },
        {"name": "ifeval"},
    ]
    evaluation = {
        "nemo_evaluator_config": {"config": {"params": {"top_p": 0, "n": 1}}},
        "overrides": {"config.params.seed": 1, "x": 1},
        "env_vars": {"A": "all", "B": "all"},
    }
    first, second = plan(tasks, evaluation=evaluation, execution={"env_var_names": ["HOME", "A"]}).tasks
    assert first.options["params"] == {"config": {"params": {"top_p": 1, "n": 1}}}
    assert first.options["overrides"] == {"config.params.seed": 2, "x": 1}
    assert first.options["env"] == {"HOME": "host:HOME", "A": "all", "B": "task", "C": "host:C"}
    assert (first.options["dataset_dir"], first.options["pre_cmd"]) == (str(tmp_path), "true")
    assert second.options["env"] == {"HOME": "host:HOME", "A": "all", "B": "all"}
    assert second.options["params"] == {"config": {"params": {"top_p": 0, "n": 1}}}


def test_settings_of_nemo_evaluator_are_not_given_to_other_harnesses(plan: Any) -> None:
    tasks = [
        {"name": "ifeval", "harness_config": {"config": {"n": 2}}},
        {"name": "own", "harness": "command", "harness_config": {"command": ["x"]}},
    ]
    evaluation = {"nemo_evaluator_config": {"config": {"n": 1, "m": 1}}, "overrides": {"config.params.seed": 1}}
    first, second = plan(tasks, evaluation=evaluation).tasks
    assert first.options["params"] == {"config": {"n": 2, "m": 1}} and first.options["overrides"]
    assert second.options["params"] == {"command": ["x"]} and not second.options["overrides"]


@pytest.mark.parametrize("key", ["nemo_evaluator_config", "overrides"])
def test_settings_of_nemo_evaluator_on_another_harness_are_an_error(plan: Any, key: str) -> None:
    with pytest.raises(ConfigErrors, match="means nothing to the harness lm_eval") as caught:
        plan([{"name": "own", "harness": "lm_eval", key: {"limit": 3}}])
    assert "harness_config" in (caught.value.errors[0].hint or "")


def test_durations_and_limits(plan: Any) -> None:
    execution = {"max_tasks": 3, "max_endpoints": 2, "max_duration": 60, "no_progress_timeout": 5, "start": "all_ready"}
    made = plan([{"name": "ifeval", "timeout": 7}, {"name": "ifeval"}], execution=execution)
    assert (made.limits.max_tasks, made.limits.max_endpoints, made.limits.max_duration, made.limits.no_progress) == (3, 2, 60.0, 5.0)
    settings = load("c.yaml").execution
    assert [task.timeout for task in made.tasks] == [7.0, settings.task_timeout]
    assert made.endpoints[0].ready_timeout == settings.ready_timeout
    assert made.start == "all_ready"


def test_a_plan_holds_everything_its_endpoints_need(plan: Any) -> None:
    (endpoint,) = plan([{"name": "ifeval"}], deployment={**SERVER, "tensor_parallel_size": "2"}).endpoints
    assert endpoint.variant == "vllm"
    assert endpoint.options["deployment"]["type"] == "vllm"
    assert endpoint.options["deployment"]["tensor_parallel_size"] == 2
    assert endpoint.options["target"] == {"url": None, "model_id": None, "api_key_name": None}


def test_a_plan_survives_json_and_gives_the_settings_back(plan: Any) -> None:
    from evalx.config import structure

    made = plan([{"name": "ifeval", "env_vars": {"A": "host:A"}}], execution={"env_var_names": ["HOME"]})
    again = from_json(RunPlan, to_json(made))
    assert again == made
    settings = load("c.yaml").execution
    assert structure(type(settings), again.execution) == settings
    assert not any(isinstance(value, Secret) for value in again.tasks[0].options["env"].values())
