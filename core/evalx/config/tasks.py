"""What a task of a config means: harness, catalogue entry, image, kind of endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import frozen

from evalx.errors import ConfigError

if TYPE_CHECKING:
    from evalx.config.loading import Config
    from evalx.tasks import CatalogueTask

DEFAULT_HARNESS = "nemo_evaluator"
_TYPE_OF_ROUTE = {"/chat/completions": "chat", "/completions": "completions", "/embeddings": "embedding"}


@frozen
class ResolvedTask:
    """harness: plugin name. task: its name for the harness. suite, container: from the catalogue, None where it is not asked.
    note: why the catalogue chose this suite among several."""

    harness: str
    task: str
    suite: str | None
    container: str | None
    endpoint_type: str
    note: str | None = None


def model_name(config: Config) -> str | None:
    """The name under which the model is asked."""
    options = config.deployment
    names = (config.target.api_endpoint.model_id, getattr(options, "served_model_name", None), getattr(options, "checkpoint_path", None))
    return next((str(name) for name in names if name), None)


def resolve_task(config: Config, index: int) -> ResolvedTask:
    """What the task of that index means. Raises ConfigError, `where` being the task's key that is wrong."""
    task = config.evaluation.tasks[index]
    harness = task.harness or config.evaluation.harness
    if harness not in (None, DEFAULT_HARNESS):
        return ResolvedTask(str(harness), task.name, None, task.container, task.endpoint_type or _usual_types(config)[0])
    entry = _catalogue_entry(task.name, task.endpoint_type, _usual_types(config), known_only=harness is None and task.container is None)
    if entry is None:
        return ResolvedTask(DEFAULT_HARNESS, task.name, None, task.container, task.endpoint_type or _usual_types(config)[0])
    endpoint_type = task.endpoint_type or next((kind for kind in _usual_types(config) if kind in entry.endpoints), entry.endpoints[0])
    return ResolvedTask(DEFAULT_HARNESS, entry.name, entry.suite, task.container or entry.container, endpoint_type, entry.note)


def _catalogue_entry(query: str, endpoint_type: str | None, usual: tuple[str, ...], *, known_only: bool) -> CatalogueTask | None:
    """known_only: a name that is not in the catalogue is a mistake; else it belongs to a container or harness of the user's own."""
    from evalx.tasks import resolve

    try:
        entry = resolve(query)
    except ConfigError as error:
        if known_only:
            hint = f"{error.hint}; a task of your own needs a harness or container" if error.hint else None
            raise ConfigError(error.message, hint, where="name") from None
        return None
    if endpoint_type is None:
        return entry
    try:
        return resolve(query, endpoint_type)
    except ConfigError as error:
        raise ConfigError(error.message, error.hint, where="endpoint_type") from None


def _usual_types(config: Config) -> tuple[str, ...]:
    """The endpoint types to prefer: those the deployment names, or the one whose route ends the target's URL. At least one."""
    named = getattr(config.deployment, "endpoints", None) or getattr(config.deployment, "routes", None) or {}
    types = tuple(kind for kind in named if kind != "health")
    path = urlsplit(config.target.api_endpoint.url or "").path.rstrip("/")
    asked = tuple(kind for route, kind in _TYPE_OF_ROUTE.items() if path.endswith(route))[:1]
    return types or asked or ("chat",)
