"""What a task of a config means: harness, catalogue entry, image, kind of endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import frozen

from evalx.config.schema import ApiEndpoint, Task
from evalx.errors import ConfigError

if TYPE_CHECKING:
    from evalx.tasks import CatalogueTask

NEMO_EVALUATOR = "nemo_evaluator"
"""The harness of the catalogue's tasks."""

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


def model_name(options: Any, target: ApiEndpoint) -> str | None:
    """The name under which the model is asked. options: those of the deployment variant."""
    names = (target.model_id, getattr(options, "served_model_name", None), getattr(options, "checkpoint_path", None))
    return next((str(name) for name in names if name), None)


def usual_types(options: Any, target: ApiEndpoint) -> tuple[str, ...]:
    """The endpoint types to prefer: those the deployment names, or the one whose route ends the target's URL. At least one."""
    named = getattr(options, "endpoints", None) or getattr(options, "routes", None) or {}
    types = tuple(kind for kind in named if kind != "health")
    path = urlsplit(target.url or "").path.rstrip("/")
    asked = tuple(kind for route, kind in _TYPE_OF_ROUTE.items() if path.endswith(route))[:1]
    return types or asked or ("chat",)


def resolve_task(task: Task, harness: str | None, usual: Sequence[str]) -> ResolvedTask:
    """What a task means. harness: the evaluation's, for tasks that name none. usual: endpoint types to prefer.

    Raises ConfigError, `where` being the task's key that is wrong.
    """
    harness = task.harness or harness
    entry = _catalogue_entry(task, harness) if harness in (None, NEMO_EVALUATOR) else None
    if entry is None:
        return ResolvedTask(harness or NEMO_EVALUATOR, task.name, None, task.container, task.endpoint_type or usual[0])
    endpoint_type = task.endpoint_type or next((kind for kind in usual if kind in entry.endpoints), entry.endpoints[0])
    return ResolvedTask(NEMO_EVALUATOR, entry.name, entry.suite, task.container or entry.container, endpoint_type, entry.note)


def _catalogue_entry(task: Task, harness: str | None) -> CatalogueTask | None:
    """None for a name that is not in the catalogue, if it can belong to a harness or container of the user's own."""
    from evalx.tasks import resolve

    try:
        entry = resolve(task.name)
    except ConfigError as error:
        if harness is None and task.container is None:
            hint = f"{error.hint}; a task of your own needs a harness or a container"
            raise ConfigError(error.message, hint, where="name") from None
        return None
    try:
        return resolve(task.name, task.endpoint_type) if task.endpoint_type else entry
    except ConfigError as error:
        raise ConfigError(error.message, error.hint, where="endpoint_type") from None
