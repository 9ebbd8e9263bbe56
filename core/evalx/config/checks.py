"""What can be wrong with a config whose keys and types are right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from evalx import catalog
from evalx.config.env import parse_env
from evalx.config.schema import ApiEndpoint, Task
from evalx.config.secrets import environments, literal_secrets
from evalx.config.sections import Typed
from evalx.config.source import KeyPath
from evalx.config.structure import Reader, suggestion
from evalx.config.tasks import NEMO_EVALUATOR, model_name, resolve_task
from evalx.errors import ConfigError

HARNESSES = "evalx.harnesses"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_values(tree: Mapping[str, Any], reader: Reader) -> None:
    """Environment mappings and secrets, wherever they stand in the resolved tree. Mistakes are noted in the reader."""
    for at in literal_secrets(tree):
        reader.error(at, "a secret must not be written into a config", _edit(at))
    for at, mapping in environments(tree):
        _check_environment(reader, at, mapping)


def _edit(at: KeyPath) -> str:
    """The line to write instead of a secret, and the command that goes with it."""
    key = str(at[-1])
    name = key if _VARIABLE.fullmatch(key) and key.isupper() else "MY_" + re.sub(r"\W", "_", key).upper()
    return f"write  {key}: host:{name}  and, where evalx runs: export {name}=…  (or lit: before it, if this text is no secret)"


def check_meaning(sections: Typed, reader: Reader) -> None:
    """What only makes sense when sections are seen together, as far as they are right. Mistakes are noted in the reader."""
    if sections.target is not None and sections.deployment is not None:
        _check_target(sections.target.api_endpoint, sections, reader)
        _check_model(sections.target.api_endpoint, sections.deployment, reader)
    if sections.execution is not None:
        _check_variables(sections.execution.env_var_names, reader)
        _check_home(sections.execution.output_dir, reader, ("execution", "output_dir"))
        _check_keep(sections, reader)
    _check_tasks(sections, reader)
    if sections.plugins is not None:
        _check_plugins(sections.plugins.require, reader)


def _check_variables(names: Sequence[str], reader: Reader) -> None:
    for index, name in enumerate(names):
        if not _VARIABLE.fullmatch(name):
            reader.error(
                ("execution", "env_var_names", index), "expected the name of an environment variable, not its value", "such as HF_TOKEN"
            )


def _check_keep(sections: Typed, reader: Reader) -> None:
    if sections.execution.keep_endpoints is not None and sections.deployment_type == "none":
        message = "means nothing here: deployment 'none' uses an endpoint that is not evalx's, and that stays in any case"
        reader.error(("execution", "keep_endpoints"), message, "remove it (or the option --keep-endpoints)")


def _check_home(path: str, reader: Reader, at: KeyPath) -> bool:
    """Whether the `~` or `~user` that a path begins with is known."""
    try:
        Path(path).expanduser()
    except RuntimeError:
        reader.error(at, f"there is no home folder for '{path}'", "give the full path")
        return False
    return True


def _check_plugins(names: Sequence[str], reader: Reader) -> None:
    known = sorted(info.name for info in catalog.plugins("evalx.plugins"))
    for index, name in enumerate(names):
        if name not in known:
            hint = suggestion(name, known) or f"installed: {', '.join(known) or 'none'}"
            reader.error(("plugins", "require", index), f"no plugin '{name}' is installed", hint)


def _check_environment(reader: Reader, at: KeyPath, mapping: Mapping[str, Any]) -> None:
    for name, value in mapping.items():
        try:
            parse_env({name: value})
        except ConfigError as error:
            reader.error((*at, name), error.message, error.hint)


def _check_target(endpoint: ApiEndpoint, sections: Typed, reader: Reader) -> None:
    at, variant = ("target", "api_endpoint"), sections.deployment_type
    if endpoint.api_key_name is not None and not _VARIABLE.fullmatch(endpoint.api_key_name):
        message = "expected the name of the environment variable that holds the key, not the key itself"
        reader.error((*at, "api_key_name"), message, "write  api_key_name: MY_KEY  and, where evalx runs: export MY_KEY=…")
    if endpoint.url is not None:
        _check_url(endpoint.url, reader, (*at, "url"))
    if variant == "none" and endpoint.url is None:
        reader.error((*at, "url"), "mandatory with deployment type 'none': the endpoint to ask", "target.api_endpoint.url=http://HOST/v1")
    if endpoint.url is not None and hasattr(sections.deployment, "served_model_name"):
        message = f"means nothing here: deployment '{variant}' starts an endpoint of its own"
        reader.error((*at, "url"), message, "remove it, or choose deployment=none")


def _check_url(url: str, reader: Reader, at: KeyPath) -> None:
    try:
        parts = urlsplit(url)
        broken = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        reader.error(at, "expected an http or https URL", "http://HOST:PORT/v1")
        return
    if parts.username is not None or parts.password is not None:
        reader.error(at, "a URL must not hold a user name or password", "give the key by target.api_endpoint.api_key_name")
    elif broken:
        hint = "http://HOST:PORT/v1" if "://" in url else f"http://{url}"
        reader.error(at, f"expected an http or https URL, found '{url}'", hint)


def _check_model(endpoint: ApiEndpoint, options: Any, reader: Reader) -> None:
    served, asked = getattr(options, "served_model_name", None), endpoint.model_id
    if not model_name(options, endpoint):
        key = ("deployment", "served_model_name") if hasattr(options, "served_model_name") else ("target", "api_endpoint", "model_id")
        reader.missing(key, "the name under which the model is served")
    elif served and asked and served != asked:
        message = f"the deployment serves the model as '{served}', so it cannot be asked as '{asked}'"
        reader.error(("target", "api_endpoint", "model_id"), message, "remove one of them")


def _check_tasks(sections: Typed, reader: Reader) -> None:
    if sections.evaluation is not None and not sections.evaluation.tasks:
        reader.error(("evaluation", "tasks"), "there is no task to run", "add one: tasks: [{name: ifeval}]")
    default = sections.evaluation.harness if sections.evaluation else None
    known = sorted(info.name for info in catalog.plugins(HARNESSES))
    if default is not None and default not in known:
        reader.error(("evaluation", "harness"), *_no_harness(default, known))
        return
    for index, task in sections.tasks.items():
        at = ("evaluation", "tasks", index)
        if task.harness is not None and task.harness not in known:
            reader.error((*at, "harness"), *_no_harness(task.harness, known))
        else:
            _check_task(task, default, reader, at)


def _no_harness(name: str, known: Sequence[str]) -> tuple[str, str]:
    return f"no harness '{name}' is installed", suggestion(name, known) or f"installed: {', '.join(known)}"


def _check_task(task: Task, harness: str | None, reader: Reader, at: KeyPath) -> None:
    if not task.name.strip():
        reader.error((*at, "name"), "a task needs a name", "the names there are: evalx tasks ls")
        return
    try:
        resolved = resolve_task(task, harness, ("chat",))
    except ConfigError as error:
        reader.error((*at, error.where or "name"), error.message, error.hint)
    else:
        for key in ("nemo_evaluator_config", "overrides") if resolved.harness != NEMO_EVALUATOR else ():
            if getattr(task, key):
                reader.error((*at, key), f"means nothing to the harness {resolved.harness}", "its settings go into harness_config")
    if task.dataset_dir is not None:
        _check_dataset(task.dataset_dir, reader, (*at, "dataset_dir"))


def _check_dataset(folder: str, reader: Reader, at: KeyPath) -> None:
    if _check_home(folder, reader, at) and not Path(folder).expanduser().is_dir():
        reader.error(at, f"no folder '{folder}' on this machine", "give its full path, or one from the folder in which evalx is started")
