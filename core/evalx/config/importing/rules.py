"""What is called or written otherwise, section by section. Each rule changes the tree and says what it has done."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import attrs

from evalx import catalog
from evalx.config.importing.tree import Kind, Work
from evalx.config.importing.variables import FROM_ENVIRONMENT, VARIABLE
from evalx.errors import ConfigError

Rule = Callable[[Work, str | None], None]


def _choose_executor(work: Work, wanted: str | None) -> None:
    elsewhere = any(isinstance(item, str) and item != "_self_" for item in work.tree.get("defaults") or ())
    if elsewhere and not wanted and not work.executor:
        return  # another config says it
    name, known = wanted or work.executor or "local", sorted({info.name for info in catalog.plugins("evalx.executors")})
    if name not in known:
        message = f"the config is for the executor '{name}', and evalx has {', '.join(known)}"
        raise ConfigError(message, "--executor NAME imports it for another")
    if wanted and wanted != work.executor:
        work.note(Kind.CHANGED, "execution", f"for the executor {wanted}; its keys that mean nothing there have to go")
        work.pop("execution.type")
    named = {"execution": f"{name}/default", "deployment": work.variant}
    listed = work.tree.get("defaults")
    if listed is not None or not isinstance(work.get("execution.type"), str):
        others = [item for item in listed or () if not (isinstance(item, dict) and named.keys() & item.keys()) and item != "_self_"]
        rest = {key: value for key, value in work.tree.items() if key != "defaults"}
        work.tree = {"defaults": [*({group: choice} for group, choice in named.items()), *others, "_self_"], **rest}
        if {"execution": "local"} in (listed or ()):
            work.note(Kind.CHANGED, "defaults", "execution: local is local/default here")


def _top_level(work: Work, _wanted: str | None) -> None:
    if work.pop("name") is not None:
        work.note(Kind.LEFT_OUT, "name", "a run is called by its id")
    if work.pop("hydra") is not None:
        work.note(Kind.LEFT_OUT, "hydra", "evalx reads hydra.searchpath only")
    if work.pop("auxiliary_deployments"):
        work.note(Kind.BY_HAND, "auxiliary_deployments", "evalx deploys one model per endpoint: start others yourself, and name their URL")
    if isinstance(work.tree.get("evaluation"), list):
        work.tree["evaluation"] = {"tasks": work.tree["evaluation"]}
        work.note(Kind.CHANGED, "evaluation", "the list of tasks is evaluation.tasks")
    for old, new in MOVED.items():
        value = work.pop(old)
        if value:
            work.put(new, value)
            work.note(Kind.CHANGED, old, f"is {new} here")
    work.pop("execution.env_vars")


MOVED = {
    "env_vars": "evaluation.env_vars",
    "execution.env_vars.deployment": "deployment.envs",
    "execution.env_vars.evaluation": "evaluation.env_vars",
    "deployment.env_vars": "deployment.envs",
    "target.api_endpoint.adapter_config": "evaluation.nemo_evaluator_config.target.api_endpoint.adapter_config",
}
"""Keys that only have another name."""


def _exports(work: Work, _wanted: str | None) -> None:
    given, chosen = work.pop("export") or {}, (work.pop("execution.auto_export") or {}).get("destinations") or []
    known = {info.name for info in catalog.plugins("evalx.exporters")}
    for name in chosen:
        if name not in known:
            work.note(Kind.BY_HAND, "execution.auto_export", f"there is no exporter '{name}': see evalx export")
            continue
        options = dict(given.get(name) or {})
        fitting = {"output", *attrs.fields_dict(catalog.load("evalx.exporters", name).Options)}
        work.put(f"export.{name}", {key: value for key, value in options.items() if key in fitting})
        work.note(Kind.CHANGED, "execution.auto_export", f"is export.{name} here")
        for key in sorted(set(options) - fitting):
            work.note(Kind.LEFT_OUT, f"export.{name}.{key}", f"no option of evalx's exporter: evalx plugins show {name}")
    for name in given:
        if name not in chosen or name not in known:
            work.note(Kind.LEFT_OUT, f"export.{name}", "evalx exports at the end what `export` names: see evalx export --help")


def _execution(work: Work, _wanted: str | None) -> None:
    mode = work.pop("execution.mode")
    if mode == "sequential":
        work.put("execution.max_tasks", 1)
        work.note(Kind.CHANGED, "execution.mode", "sequential is execution.max_tasks: 1 here")
    elif mode is not None:
        work.note(Kind.LEFT_OUT, "execution.mode", "tasks run in parallel, as many as execution.max_tasks says")
    if work.executor == "local":
        _local(work)
    else:
        _lepton(work)
    if work.get("execution.env_var_names"):
        work.note(Kind.ACTS_NOW, "execution.env_var_names", "every task is given these variables")


def _local(work: Work) -> None:
    work.put("execution.runtime", "docker")
    work.note(Kind.CHANGED, "execution.type", "tasks run in containers as before: execution.runtime: docker (or podman, or process)")
    arguments = work.pop("execution.extra_docker_args")
    if arguments:
        work.put("execution.containers.extra_args", shlex.split(str(arguments)))
        work.note(Kind.CHANGED, "execution.extra_docker_args", "is the list execution.containers.extra_args here")
    mounts = work.pop("execution.mounts")
    if isinstance(mounts, dict):
        pairs = {**(mounts.get("deployment") or {}), **(mounts.get("evaluation") or {})}
        work.put("execution.containers.mounts", [f"{host}:{inside}" for host, inside in pairs.items()])
        work.note(Kind.CHANGED, "execution.mounts", "is the list execution.containers.mounts here, for servers and tasks alike")
    if work.variant == "generic":
        _generic(work)


def _generic(work: Work) -> None:
    """Any server by its command."""
    command, more = str(work.pop("deployment.command") or "???"), str(work.pop("deployment.extra_args") or "")
    work.put("deployment.argv", shlex.split(f"{command} {more}"))
    for item in work.tree.get("defaults") or ():
        if isinstance(item, dict) and "deployment" in item:
            item["deployment"] = "command"
    if work.get("deployment.type"):
        work.tree["deployment"]["type"] = "command"
    work.note(Kind.CHANGED, "deployment.command", "is the list deployment.argv of the variant `command` here; no shell reads it")
    endpoints = work.pop("deployment.endpoints") or {}
    if "health" in endpoints:
        work.put("deployment.health_path", endpoints.pop("health"))
    if endpoints:
        work.put("deployment.routes", endpoints)
        work.note(Kind.CHANGED, "deployment.endpoints", "are deployment.routes and deployment.health_path here")
    if work.pop("deployment.checkpoint_path"):
        work.note(Kind.BY_HAND, "deployment.checkpoint_path", "mount it with execution.containers.mounts, and name it in deployment.argv")


def _lepton(work: Work) -> None:
    for key, text in NOW_ACTING.items():
        if work.get(key) is not None:
            work.note(Kind.ACTS_NOW, key, text)
    if work.pop("execution.lepton_platform.tasks.api_tokens") is not None:
        text = "tasks are given the run's own token for their endpoint, which every endpoint of evalx has"
        work.note(Kind.LEFT_OUT, "execution.lepton_platform.tasks.api_tokens", text)
    if work.get("deployment.lepton_config.endpoint_name"):
        text = "is kept with the endpoint as EVALX_NAME; its real name leads back to the run"
        work.note(Kind.CHANGED, "deployment.lepton_config.endpoint_name", text)
    given = {**(work.get("deployment.envs") or {}), **(work.get("deployment.lepton_config.envs") or {})}
    if work.variant == "nim" and "NGC_API_KEY" not in given:
        text = "a NIM needs it: host:NGC_API_KEY, or {value_from: {secret_name_ref: NAME}}"
        work.note(Kind.BY_HAND, "deployment.lepton_config.envs.NGC_API_KEY", text)
    token = work.pop("deployment.lepton_config.api_token")
    if token is not None:
        work.put("deployment.lepton_config.api_tokens", [{"value": token}])
        work.note(Kind.CHANGED, "deployment.lepton_config.api_token", "is the list api_tokens here")


NOW_ACTING = {
    "execution.evaluation_tasks.timeout": "a task that takes longer is ended; it was read and ignored",
    "execution.evaluation_tasks.use_shared_storage": "false keeps a job in its container; it was read and ignored",
}


def _deployment(work: Work, _wanted: str | None) -> None:
    handle = work.pop("deployment.hf_model_handle")
    if work.get("deployment.checkpoint_path") is None:
        work.pop("deployment.checkpoint_path")
    if handle is not None:
        work.put("deployment.checkpoint_path", handle)
        work.note(Kind.CHANGED, "deployment.hf_model_handle", "is deployment.checkpoint_path here, which takes a folder or a model id")
    share = work.pop("deployment.gpu_memory_utilization")
    if share is not None:
        _add_arguments(work, f"--gpu-memory-utilization {share}")
        work.note(Kind.CHANGED, "deployment.gpu_memory_utilization", "is part of deployment.extra_args here")
    for key in ("deployment.command", "deployment.base_command"):
        if work.pop(key) is not None:
            work.note(Kind.LEFT_OUT, key, "the command is made from the other keys; arguments of your own go into deployment.extra_args")
    if work.variant in ("vllm", "sglang") and work.get("deployment.tensor_parallel_size") is None:
        work.note(Kind.CHANGED, "deployment.tensor_parallel_size", "was not set: 8 was the launcher's default, 1 is evalx's")
    if work.variant == "vllm" and "--trust-remote-code" not in str(work.get("deployment.extra_args")):
        work.note(Kind.CHANGED, "deployment.extra_args", "--trust-remote-code was always added; here only if extra_args says so")


def _add_arguments(work: Work, arguments: str) -> None:
    deployment = work.tree.setdefault("deployment", {})
    deployment["extra_args"] = f"{deployment.get('extra_args') or ''} {arguments}".strip()


def _target(work: Work, _wanted: str | None) -> None:
    key = work.pop("target.api_endpoint.api_key")
    if key is not None and not work.get("target.api_endpoint.api_key_name"):
        found = FROM_ENVIRONMENT.fullmatch(str(key))
        work.put("target.api_endpoint.api_key_name", found[1] if found else "API_KEY")
        name = found[1] if found else "API_KEY"
        work.note(Kind.CHANGED, "target.api_endpoint.api_key", f"a key never stands in a config: export it as {name}")
    name = work.get("target.api_endpoint.api_key_name")
    if name is None or not VARIABLE.fullmatch(str(name)):
        work.pop("target.api_endpoint.api_key_name")
        if name is not None:
            work.note(Kind.LEFT_OUT, "target.api_endpoint.api_key_name", "was not the name of a variable")
    if work.variant != "none" and work.pop("target") is not None:
        work.note(Kind.LEFT_OUT, "target", "the endpoint is the one that is deployed")
    kind = work.pop("target.api_endpoint.type")
    if kind is not None:
        work.note(Kind.LEFT_OUT, "target.api_endpoint.type", "follows from the task and the end of the URL; or set a task's endpoint_type")


def _tasks(work: Work, _wanted: str | None) -> None:
    for index, task in enumerate(work.get("evaluation.tasks") or ()):
        if not isinstance(task, dict):
            continue
        at = f"evaluation.tasks[{index}]"
        for key in [key for key in ("pre_cmd", "post_cmd", "dataset_dir") if task.get(key) == "" or (key in task and task[key] is None)]:
            del task[key]
        if task.get("pre_cmd") or task.get("post_cmd"):
            key = "pre_cmd" if task.get("pre_cmd") else "post_cmd"
            work.note(Kind.CHANGED, f"{at}.{key}", "runs only with evalx run --trust-commands")
        if task.pop("dataset_mount_path", "/datasets") != "/datasets":
            work.note(Kind.LEFT_OUT, f"{at}.dataset_mount_path", "the task is told where its data is in NEMO_EVALUATOR_DATASET_DIR")
        if task.get("dataset_dir"):
            work.note(Kind.ACTS_NOW, f"{at}.dataset_dir", "the task is given the folder; on Lepton it is sent with the job, if it is small")


RULES: tuple[Rule, ...] = (_choose_executor, _top_level, _exports, _execution, _deployment, _target, _tasks)
