"""Configs whose keys and types are right, and which are wrong nevertheless."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evalx.config import Config
from evalx.errors import ConfigError, ConfigErrors

Load = Callable[..., Config]
Mistakes = Callable[..., list[ConfigError]]

SIMPLE = """
execution: {type: acme, region: west}
target: {api_endpoint: {url: "http://127.0.0.1:8000/v1", model_id: tiny}}
evaluation: {tasks: [{name: ifeval}]}
"""
SERVER = """
execution: {type: acme, region: west}
deployment: {type: server, checkpoint_path: /m, served_model_name: tiny}
evaluation: {tasks: [{name: ifeval}]}
"""


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("type: acme, ", "", "my.yaml:2 execution.type", "mandatory"),
        ("type: acme", "type: acne", "my.yaml:2 execution.type", 'Did you mean "acme"?'),
        ("type: acme, region: west", "type: acme", "my.yaml:2 execution.region", "Region in which machines are rented."),
        ("region: west", "region: '???'", "my.yaml:2 execution.region", "Region in which machines are rented."),
        ("region: west", "region: west, runtime: process", "my.yaml:2 execution.runtime", "unknown key"),
        (
            "region: west",
            "region: west, env_var_names: ['a b']",
            "my.yaml:2 execution.env_var_names[0]",
            "expected the name of an environment",
        ),
        ("region: west", "region: west, endpoints: 0", "my.yaml:2 execution.endpoints", "must be at least 1, not 0"),
        ("region: west", "region: west, mounts: [{}]", "my.yaml:2 execution.mounts[0].source", "What to mount."),
        ("execution: {type: acme, region: west}", "execution: acme", "my.yaml:2 execution", "expected a mapping"),
        ("model_id: tiny", "model_id: tiny, api_key: sk-canary", "my.yaml:3 target.api_endpoint.api_key", "unknown key"),
        ("model_id: tiny", "model_id: tiny, api_key_name: sk-canary", "my.yaml:3 target.api_endpoint.api_key_name", "not the key itself"),
        (", model_id: tiny", "", "my.yaml:3 target.api_endpoint.model_id", "mandatory"),
        ('url: "http://127.0.0.1:8000/v1", ', "", "my.yaml:3 target.api_endpoint.url", "mandatory with deployment type 'none'"),
        ("http://127", "http://u:canary@127", "my.yaml:3 target.api_endpoint.url", "must not hold a user name or password"),
        ("http://127", "ftp://127", "my.yaml:3 target.api_endpoint.url", "expected an http or https URL"),
        ("127.0.0.1:8000", "127.0.0.1:port", "my.yaml:3 target.api_endpoint.url", "expected an http or https URL"),
        ("http://127.0.0.1", "http://[", "my.yaml:3 target.api_endpoint.url", "expected an http or https URL"),
        ("tasks: [{name: ifeval}]", "tasks: []", "my.yaml:4 evaluation.tasks", "no task to run"),
        ("name: ifeval", "name: ifevall", "my.yaml:4 evaluation.tasks[0].name", "no task 'ifevall'"),
        ("name: ifeval", "name: ' '", "my.yaml:4 evaluation.tasks[0].name", "a task needs a name"),
        ("name: ifeval", "name: ifeval, endpoint_type: embedding", "my.yaml:4 evaluation.tasks[0].endpoint_type", "not embedding"),
        ("name: ifeval", "name: x, harness: lm_evil", "my.yaml:4 evaluation.tasks[0].harness", "no harness 'lm_evil'"),
        ("tasks: [", "harness: lm_evil, tasks: [", "my.yaml:4 evaluation.harness", "no harness 'lm_evil'"),
        ("name: ifeval", "name: ifeval, dataset_dir: /nowhere", "my.yaml:4 evaluation.tasks[0].dataset_dir", "no folder '/nowhere'"),
        ("name: ifeval", "name: ifeval, timeout: 0", "my.yaml:4 evaluation.tasks[0].timeout", "must be at least 1"),
        (
            "name: ifeval",
            "name: ifeval, env_vars: {HF_TOKEN: canary}",
            "my.yaml:4 evaluation.tasks[0].env_vars.HF_TOKEN",
            "a secret must not",
        ),
        ("name: ifeval", "name: ifeval, env_vars: {1A: x}", "my.yaml:4 evaluation.tasks[0].env_vars.1A", "cannot be the name"),
        ("evaluation: {", "evaluation: {env_vars: {A: [1]}, ", "my.yaml:4 evaluation.env_vars.A", "not a value"),
        ("evaluation:", "plugins: {require: [nope]}\nevaluation:", "my.yaml:4 plugins.require[0]", "no plugin 'nope' is installed"),
        ("evaluation:", "evalution: 1\nevaluation:", "my.yaml:4 evalution", "unknown key"),
        ("evaluation:", "deployment: {type: sever}\nevaluation:", "my.yaml:4 deployment.type", 'Did you mean "server"?'),
        ("evaluation:", "deployment: {type: none, image: x}\nevaluation:", "my.yaml:4 deployment.image", "unknown key"),
    ],
)
def test_one_mistake_is_told_with_its_place(mistakes: Mistakes, old: str, new: str, where: str, message: str) -> None:
    assert old in SIMPLE
    found = mistakes(SIMPLE.replace(old, new))
    assert [error.where for error in found if error.where == where][:1] == [where]
    assert any(message in error.message for error in found if error.where == where)
    assert not any("canary" in f"{error}{error.hint}" for error in found)


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("checkpoint_path: /m, ", "", "my.yaml:3 deployment.checkpoint_path", "Folder of the checkpoint."),
        ("served_model_name: tiny", "tensor_parallel: 2", "my.yaml:3 deployment.tensor_parallel", "unknown key"),
        ("served_model_name: tiny", "tensor_parallel_size: 3", "my.yaml:3 deployment.tensor_parallel_size", "three GPUs"),
        ("served_model_name: tiny", "envs: {NGC_API_KEY: canary}", "my.yaml:3 deployment.envs.NGC_API_KEY", "a secret must not"),
        (
            "evaluation:",
            "target: {api_endpoint: {url: 'http://h/v1'}}\nevaluation:",
            "my.yaml:4 target.api_endpoint.url",
            "means nothing here",
        ),
        (
            "evaluation:",
            "target: {api_endpoint: {model_id: big}}\nevaluation:",
            "my.yaml:4 target.api_endpoint.model_id",
            "cannot be asked as 'big'",
        ),
    ],
)
def test_a_mistake_with_a_deployment(mistakes: Mistakes, old: str, new: str, where: str, message: str) -> None:
    (error,) = mistakes(SERVER.replace(old, new))
    assert error.where == where
    assert message in error.message
    assert "canary" not in f"{error}{error.hint}"


def test_mistakes_in_all_sections_are_told_at_once_in_the_order_of_lines(mistakes: Mistakes) -> None:
    found = mistakes(
        """
        execution: {type: acme, regoin: west}
        deployment: {type: server, checkpoint_path: 3}
        target: {api_endpoint: {modelid: x}}
        evaluation:
          tasks:
            - nam: ifeval
            - name: ifevall
            - {name: ifeval, timeout: soon}
        """
    )
    assert [error.where for error in found] == [
        "my.yaml:2 execution.regoin",
        "my.yaml:2 execution.region",
        "my.yaml:3 deployment.checkpoint_path",
        "my.yaml:4 target.api_endpoint.modelid",
        "my.yaml:7 evaluation.tasks[0].nam",
        "my.yaml:7 evaluation.tasks[0].name",
        "my.yaml:8 evaluation.tasks[1].name",
        "my.yaml:9 evaluation.tasks[2].timeout",
    ]
    assert found[0].hint == "did you mean 'region'?"


def test_a_config_of_nothing_says_what_it_needs(mistakes: Mistakes) -> None:
    assert [error.where for error in mistakes("")] == ["my.yaml execution", "my.yaml evaluation"]


def test_a_mistake_on_the_command_line_says_so(mistakes: Mistakes) -> None:
    (error,) = mistakes(SIMPLE, overrides=["execution.max_tasks=many"])
    assert error.where == "override execution.max_tasks"


def test_names_that_are_not_in_the_catalogue_need_a_harness_or_container(loaded: Load) -> None:
    for more in ("harness: nemo_evaluator", "harness: lm_eval", "container: me/mine:1"):
        loaded(SIMPLE.replace("name: ifeval", f"name: my_own, {more}"))
    loaded(SIMPLE.replace("{name: ifeval}", "{name: my_own}").replace("evaluation: {", "evaluation: {harness: command, "))


def test_a_dataset_folder_that_exists_is_fine(loaded: Load, tmp_path: Path) -> None:
    assert loaded(SIMPLE.replace("name: ifeval", f"name: ifeval, dataset_dir: {tmp_path}")).evaluation.tasks[0].dataset_dir == str(tmp_path)


def test_secrets_by_reference_are_fine_and_never_in_the_text(loaded: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-9c1")
    text = SIMPLE.replace("name: ifeval", "name: ifeval, env_vars: {HF_TOKEN: 'host:HF_TOKEN', X_KEY: {value_from: {secret_name_ref: n}}}")
    config = loaded(text)
    assert "canary" not in config.text + str(config.tree)


def test_a_literal_secret_is_answered_with_the_line_to_write(loaded: Load) -> None:
    text = SIMPLE.replace("name: ifeval", "name: ifeval, env_vars: {HF_TOKEN: canary}")
    with pytest.raises(ConfigErrors) as caught:
        loaded(text)
    assert "HF_TOKEN: host:HF_TOKEN" in str(caught.value.errors[0].hint)
    assert "export HF_TOKEN=" in str(caught.value.errors[0].hint)
    assert "canary" not in str(caught.value)
