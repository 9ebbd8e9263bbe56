"""The sections of a config that every executor shares: target, evaluation, plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from evalx.config.settings import at_least, setting

EnvMapping = Mapping[str, Any]
"""Environment variables as written in a config: see `evalx.config.env.parse_env`."""


@frozen(kw_only=True)
class ApiEndpoint:
    """`target.api_endpoint`: the model endpoint that tasks ask."""

    url: str | None = setting(
        None,
        help="URL of an endpoint that exists: of the route (…/v1/chat/completions) or its base (…/v1).",
        example="http://127.0.0.1:8000/v1",
    )
    model_id: str | None = setting(None, help="Name under which the endpoint serves the model.", example="my-model")
    api_key_name: str | None = setting(None, help="Name of the environment variable that holds the endpoint's API key.")


@frozen(kw_only=True)
class Target:
    """`target`."""

    api_endpoint: ApiEndpoint = setting(factory=ApiEndpoint, help="The model endpoint that tasks ask.")


@frozen(kw_only=True)
class Task:
    """An entry of `evaluation.tasks`."""

    name: str = setting(help="The task, as `task` or `suite.task`; `evalx tasks ls` lists them.")
    harness: str | None = setting(None, help="Harness that runs it; without it the catalogue decides.")
    container: str | None = setting(None, help="Image to use instead of the catalogue's.")
    endpoint_type: str | None = setting(None, help="`chat`, `completions`, …; without it the first that task and endpoint share.")
    env_vars: EnvMapping = setting(factory=dict, help="Environment variables of this task.")
    harness_config: Mapping[str, Any] = setting(factory=dict, help="Settings of the harness, in its own terms.")
    nemo_evaluator_config: Mapping[str, Any] = setting(factory=dict, help="The same, for nemo_evaluator; merged over the evaluation's.")
    overrides: Mapping[str, Any] = setting(factory=dict, help="Single values of nemo_evaluator's configuration, by dotted key.")
    dataset_dir: str | None = setting(None, help="Folder of this machine that the task reads its data from.")
    pre_cmd: str | None = setting(None, help="Shell commands before the task; run only with --trust-commands.")
    post_cmd: str | None = setting(None, help="Shell commands after the task; run only with --trust-commands.")
    timeout: float | None = setting(None, help="Seconds that the task may take.", validator=at_least(1))


@frozen(kw_only=True)
class Evaluation:
    """`evaluation`: what is asked."""

    tasks: tuple[Task, ...] = setting(help="The tasks to run.")
    harness: str | None = setting(None, help="Harness of the tasks that do not name one.")
    env_vars: EnvMapping = setting(factory=dict, help="Environment variables of all tasks.")
    nemo_evaluator_config: Mapping[str, Any] = setting(factory=dict, help="Settings of all tasks of nemo_evaluator.")
    overrides: Mapping[str, Any] = setting(factory=dict, help="Single values of nemo_evaluator's configuration, for all its tasks.")


@frozen(kw_only=True)
class Plugins:
    """`plugins`: what else takes part in the run."""

    require: tuple[str, ...] = setting((), help="Plugins (group evalx.plugins) to load; the run does not start without them.")


@frozen(kw_only=True)
class Sections:
    """The top level. execution and deployment are for the plugins that `type` in them names, and are not looked at here."""

    execution: object = setting(help="Where to run. `type` in it, or --executor, names the executor.")
    deployment: object = setting(None, help="What to deploy; without it `none`: an endpoint that exists.")
    target: Target = setting(factory=Target, help="The endpoint that is asked.")
    evaluation: Evaluation = setting(help="What is asked.")
    plugins: Plugins = setting(factory=Plugins, help="What else takes part in the run.")
    export: object = setting(None, help="Where results are carried when the run has ended: name of an exporter → `output` and its options.")
