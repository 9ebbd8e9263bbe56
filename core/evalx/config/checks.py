"""What can be wrong with a config whose keys and types are right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evalx import catalog
from evalx.config.env import parse_env
from evalx.config.secrets import ENVIRONMENTS, literal_secrets
from evalx.config.source import KeyPath
from evalx.config.structure import Reader, suggestion
from evalx.config.tasks import model_name, resolve_task
from evalx.errors import ConfigError

if TYPE_CHECKING:
    from evalx.config.loading import Config

HARNESSES = "evalx.harnesses"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_HINT = "write host:NAME, where NAME is the environment variable that holds it; lit:… if this text is no secret"  # noqa: S105


def check_values(tree: Mapping[str, Any], reader: Reader) -> None:
    """Environment mappings and secrets, wherever they stand in the resolved tree. Mistakes are noted in the reader."""
    sections = {key: value for key, value in tree.items() if key in ("execution", "deployment", "target")}
    sections["evaluation"] = _without_harness_config(tree.get("evaluation"))
    for at in literal_secrets(sections):
        reader.error(at, "a secret must not be written into a config", _SECRET_HINT)
    for at, mapping in _environments(sections, ()):
        _check_environment(reader, at, mapping)


def check_meaning(config: Config, reader: Reader) -> None:
    """What only makes sense when sections are seen together. Mistakes are noted in the reader."""
    _check_target(config, reader)
    _check_model(config, reader)
    for index, name in enumerate(config.execution.env_var_names):
        if not _VARIABLE.fullmatch(name):
            reader.error(("execution", "env_var_names", index), "expected the name of an environment variable, not its value")
    if not config.evaluation.tasks:
        reader.error(("evaluation", "tasks"), "there is no task to run", "add one: tasks: [{name: ifeval}]")
    for index in range(len(config.evaluation.tasks)):
        _check_task(config, index, reader)
    known = {info.name for info in catalog.plugins("evalx.plugins")}
    for index, name in enumerate(config.plugins):
        if name not in known:
            hint = suggestion(name, known) or f"installed: {', '.join(sorted(known)) or 'none'}"
            reader.error(("plugins", "require", index), f"no plugin '{name}' is installed", hint)


def _without_harness_config(evaluation: Any) -> Any:
    """Harnesses have keys of their own there, which look like secrets but hold names."""
    if isinstance(evaluation, Mapping):
        return {key: _without_harness_config(value) for key, value in evaluation.items() if key not in ("nemo_evaluator_config", "overrides")}
    return [_without_harness_config(item) for item in evaluation] if isinstance(evaluation, list) else evaluation


def _environments(tree: Any, at: KeyPath) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if key in ENVIRONMENTS and isinstance(value, Mapping):
            yield (*at, key), value
        else:
            yield from _environments(value, (*at, key))


def _check_environment(reader: Reader, at: KeyPath, mapping: Mapping[str, Any]) -> None:
    for name, value in mapping.items():
        try:
            parse_env({name: value})
        except ConfigError as error:
            reader.error((*at, name), error.message, error.hint)


def _check_target(config: Config, reader: Reader) -> None:
    endpoint, at = config.target.api_endpoint, ("target", "api_endpoint")
    if endpoint.api_key_name is not None and not _VARIABLE.fullmatch(endpoint.api_key_name):
        reader.error((*at, "api_key_name"), "expected the name of the environment variable that holds the key, not the key itself")
    if endpoint.url is not None:
        _check_url(endpoint.url, reader, (*at, "url"))
    if config.deployment_type == "none" and endpoint.url is None and not hasattr(config.deployment, "endpoint"):
        reader.error((*at, "url"), "mandatory with deployment type 'none': the endpoint to ask", "target.api_endpoint.url=http://…/v1")
    if config.deployment_type != "none" and endpoint.url is not None and hasattr(config.deployment, "served_model_name"):
        message = f"means nothing here: deployment '{config.deployment_type}' starts an endpoint of its own"
        reader.error((*at, "url"), message, "remove it, or choose deployment=none")


def _check_url(url: str, reader: Reader, at: KeyPath) -> None:
    try:
        parts = urlsplit(url)
        broken = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        reader.error(at, "expected an http or https URL")
        return
    if parts.username is not None or parts.password is not None:
        reader.error(at, "a URL must not hold a user name or password", "give the key by target.api_endpoint.api_key_name")
    elif broken:
        reader.error(at, "expected an http or https URL")


def _check_model(config: Config, reader: Reader) -> None:
    served, asked = getattr(config.deployment, "served_model_name", None), config.target.api_endpoint.model_id
    if not model_name(config):
        key = ("deployment", "served_model_name") if hasattr(config.deployment, "served_model_name") else ("target", "api_endpoint", "model_id")
        reader.missing(key, "name under which the model is served")
    elif served and asked and served != asked:
        message = f"the deployment serves the model as '{served}', so it cannot be asked as '{asked}'"
        reader.error(("target", "api_endpoint", "model_id"), message, "remove one of them")


def _check_task(config: Config, index: int, reader: Reader) -> None:
    at: KeyPath = ("evaluation", "tasks", index)
    task = config.evaluation.tasks[index]
    if not task.name.strip():
        reader.error((*at, "name"), "a task needs a name")
        return
    harness = task.harness or config.evaluation.harness
    known = sorted(info.name for info in catalog.plugins(HARNESSES))
    if harness is not None and harness not in known:
        key = (*at, "harness") if task.harness else ("evaluation", "harness")
        reader.error(key, f"no harness '{harness}' is installed", suggestion(harness, known) or f"installed: {', '.join(known)}")
        return
    try:
        resolve_task(config, index)
    except ConfigError as error:
        reader.error((*at, error.where or "name"), error.message, error.hint)
    if task.dataset_dir is not None and not Path(task.dataset_dir).expanduser().is_dir():
        reader.error((*at, "dataset_dir"), f"no folder '{task.dataset_dir}' on this machine")
