"""Mistakes in configs, and what the executor finds wrong before anything is created."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from tests.cli.gallery.stage import CANARY, GOOD, LOCAL, SITUATIONS, TARGET, TASKS, Stage, situation

ONE_TASK = "evaluation: {tasks: [{name: NAME}]}\n"

SERVER = """\
defaults: [{execution: local/default}, {deployment: command}, _self_]
deployment: {argv: [sleep, "60"], served_model_name: tiny}
"""

TEXTS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "yaml_is_not_closed": (LOCAL + "target: {api_endpoint: {url: x}\n" + TASKS, ()),
    "yaml_indented_with_a_tab": (LOCAL + "target:\n\tapi_endpoint: {}\n", ()),
    "yaml_with_a_key_twice": (GOOD + TARGET, ()),
    "yaml_with_a_python_object": (GOOD + "plugins: !!python/object:os.system {}\n", ()),
    "yaml_that_is_a_list": ("- one\n- two\n", ()),
    "yaml_that_is_empty": ("", ()),
    "yaml_that_is_no_text": (b"\xff\xfe\x00broken", ()),
    "yaml_that_is_huge": ("# " + "x" * (3 << 20), ()),
    "unknown_key": (GOOD.replace("harness: command", "harnes: command"), ()),
    "unknown_section": (GOOD + "evalution: {}\n", ()),
    "unknown_key_of_execution": (GOOD + "execution: {max_task: 3}\n", ()),
    "values_left_open": (LOCAL + "target:\n  api_endpoint:\n    url: ???\n    model_id: ???\n" + TASKS, ()),
    "values_left_open_within_braces": (LOCAL + "target: {api_endpoint: {url: ???, model_id: ???}}\n" + TASKS, ()),
    "section_left_out": (LOCAL + TARGET, ()),
    "wrong_types": (GOOD + "execution: {max_tasks: many, endpoints: [], output_dir: 7}\n", ()),
    "negative_time": (GOOD + "execution: {max_duration: -5, endpoint_readiness_timeout: 0}\n", ()),
    "keep_endpoints_for_no_time": (SERVER + TASKS, ("--keep-endpoints", "0")),
    "keep_endpoints_for_ever": (SERVER + TASKS, ("--keep-endpoints", "30d")),
    "keep_an_endpoint_of_somebody_else": (GOOD, ("--keep-endpoints", "30m")),
    "keep_more_endpoints_than_there_may_be": (
        SERVER + TASKS + TASKS.splitlines()[-1].replace("one", "two") + "\nexecution: {max_endpoints: 1}\n",
        ("--keep-endpoints", "30m"),
    ),
    "task_is_a_word": (LOCAL + TARGET + "evaluation: {tasks: ifeval}\n", ()),
    "task_without_a_name": (LOCAL + TARGET + "evaluation: {tasks: [{container: x}]}\n", ()),
    "no_tasks": (LOCAL + TARGET + "evaluation: {tasks: []}\n", ()),
    "unknown_task": (LOCAL + TARGET + ONE_TASK.replace("NAME", "ifevl"), ()),
    "unknown_suite": (LOCAL + TARGET + ONE_TASK.replace("NAME", "lm-evaluation-harnes.ifeval"), ()),
    "task_of_another_suite": (LOCAL + TARGET + ONE_TASK.replace("NAME", "bigcode.ifeval"), ()),
    "task_that_the_config_has_not": (GOOD, ("-t", "two")),
    "unknown_harness": (GOOD.replace("harness: command", "harness: lm_evl"), ()),
    "unknown_executor": (GOOD, ("--executor", "leptn")),
    "unknown_executor_in_the_file": ("execution: {type: slurm}\n" + TARGET + TASKS, ()),
    "unknown_variant": (GOOD + "deployment: {type: vlm}\n", ()),
    "unknown_config_group": (GOOD.replace("deployment: none", "deployment: vlm"), ()),
    "unknown_plugin": (GOOD + "plugins: {require: [notifier]}\n", ()),
    "unknown_exporter": (GOOD + "export: {jsn: {}}\n", ()),
    "unknown_option_of_an_exporter": (GOOD + "export: {csv: {outptu: x}}\n", ()),
    "interpolation_of_nothing": (GOOD.replace("model_id: tiny", "model_id: '${models.tiny}'"), ()),
    "interpolation_of_a_variable_that_is_not_set": (GOOD.replace("model_id: tiny", "model_id: '${oc.env:NO_SUCH_MODEL}'"), ()),
    "interpolation_in_a_circle": (GOOD + "execution: {output_dir: '${execution.output_dir}'}\n", ()),
    "override_that_is_none": (GOOD, ("execution",)),
    "override_that_is_not_closed": (GOOD, ("execution.prices={a:1",)),
    "override_of_an_unknown_key": (GOOD, ("execution.max_task=3",)),
    "override_of_the_wrong_type": (GOOD, ("execution.max_tasks=many",)),
    "override_of_an_unknown_group": (GOOD, ("deployment=vlm",)),
    "secret_in_the_config": (GOOD.replace("tasks:\n", f"env_vars: {{HF_TOKEN: {CANARY}}}\n  tasks:\n"), ()),
    "variable_that_is_not_set": (GOOD.replace("tasks:\n", "env_vars: {HF_TOKEN: 'host:NO_SUCH_TOKEN'}\n  tasks:\n"), ()),
    "workspace_secret_on_this_machine": (
        GOOD.replace("tasks:\n", "env_vars: {HF_TOKEN: {value_from: {secret_name_ref: hf}}}\n  tasks:\n"),
        (),
    ),
    "api_key_that_is_not_set": (GOOD.replace("model_id: tiny", "model_id: tiny, api_key_name: NO_SUCH_KEY"), ()),
    "endpoint_without_url": (GOOD.replace("url: http://127.0.0.1:1/v1, ", ""), ()),
    "endpoint_url_without_scheme": (GOOD.replace("http://127.0.0.1:1/v1", "localhost:8000"), ()),
    "command_before_the_task_without_trust": (GOOD.replace("{name: one,", "{name: one, pre_cmd: 'echo hello',"), ()),
    "dataset_that_is_not_there": (GOOD.replace("{name: one,", "{name: one, dataset_dir: nowhere,"), ()),
    "harness_that_is_not_installed": (LOCAL + TARGET + "evaluation: {harness: lm_eval, tasks: [{name: gsm8k}]}\n", ()),
    "harness_venv_that_is_none": (GOOD + "execution: {harnesses: {command: {venv: nowhere}}}\n", ()),
    "server_that_is_not_installed": (SERVER.replace("sleep", "no-such-server") + TASKS, ()),
    "port_for_several_endpoints": (
        SERVER.replace("tiny}", "tiny, port: 8123}") + TASKS + TASKS.splitlines()[-1].replace("one", "two") + "\n",
        (),
    ),
    "all_ready_with_too_few_endpoints": (
        SERVER + TASKS + TASKS.splitlines()[-1].replace("one", "two") + "\nexecution: {start: all_ready, max_endpoints: 1}\n",
        (),
    ),
}


def _of(text: str | bytes, args: tuple[str, ...]) -> Callable[[Stage], Any]:
    def play(stage: Stage) -> Any:
        stage.write("my.yaml", text)
        return stage.evalx("run", "my.yaml", *args)

    return play


SITUATIONS |= {name: _of(*given) for name, given in TEXTS.items()}


@situation
def config_that_is_not_there(stage: Stage) -> Any:
    return stage.evalx("run", "mine.yaml")


@situation
def config_name_that_is_misspelt(stage: Stage) -> Any:
    return stage.evalx("run", "quickstrat")


@situation
def config_name_in_a_folder_that_has_others(stage: Stage) -> Any:
    stage.write("own/mine.yaml", GOOD)
    return stage.evalx("run", "--config-dir", "own", "--config-name", "min")


@situation
def config_folder_that_is_not_there(stage: Stage) -> Any:
    return stage.evalx("run", "--config-dir", "nowhere", "--config-name", "mine")


@situation
def config_that_is_a_folder(stage: Stage) -> Any:
    (stage.folder / "mine").mkdir()
    return stage.evalx("run", "./mine")


@situation
def port_in_use(stage: Stage) -> Any:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stage.ports.append(taken.getsockname()[1])
        return stage.run(SERVER.replace("tiny}", f"tiny, port: {stage.ports[0]}}}") + TASKS)


@situation
def container_program_that_is_not_there(stage: Stage) -> Any:
    stage.monkeypatch.setenv("PATH", str(stage.folder))
    return stage.run(GOOD + "execution: {runtime: docker}\n")


@situation
def container_program_without_its_daemon(stage: Stage) -> Any:
    return with_docker(stage, "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1")


@situation
def container_without_an_image(stage: Stage) -> Any:
    return with_docker(stage, "exit 0")


def with_docker(stage: Stage, script: str) -> Any:
    """In place of docker there is a script."""
    program = stage.write("bin/docker", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    stage.monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return stage.run(GOOD + "execution: {runtime: docker}\n")


@situation
def several_mistakes_at_once(stage: Stage) -> Any:
    return stage.run(
        "defaults: [{execution: local/default}, {deployment: vllm}, _self_]\n"
        "execution: {max_tasks: 0, start: soon}\ndeployment: {tensor_parallel: 2}\n" + TASKS.replace("one", "''")
    )
