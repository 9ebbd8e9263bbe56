"""The SDK's types into evalx's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evalx_lepton.views import Endpoint, Job, Snapshot, View

MARK = "EVALX_"
"""How evalx's labels and variables begin."""


def endpoint_view(item: Any) -> Endpoint:
    status = item.status
    state = status.state.value if status else "UNK"
    if status and status.phase is not None and state == "Not Ready":
        state = status.phase.value  # older clients are shown "Not Ready" for what is stopped
    return Endpoint(
        name=str(item.metadata.name or item.metadata.id_),
        state=state,
        url=(status.endpoint.external_endpoint or "") if status else "",
        marks=_marks(item),
        owner=item.metadata.created_by or item.metadata.owner or "",
        created=_seconds(item.metadata.created_at),
    )


def job_view(item: Any) -> Job:
    status = item.status
    return Job(
        id=str(item.metadata.id_),
        name=str(item.metadata.name or item.metadata.id_),
        state=status.state.value if status and status.state else "UNK",
        marks=_marks(item),
        owner=item.metadata.created_by or item.metadata.owner or "",
        created=_seconds(item.metadata.created_at or (status.creation_time if status else None)),
        ended=_seconds(status.completion_time if status else None),
    )


def _marks(item: Any) -> dict[str, str]:
    """Labels where the platform keeps them, else the environment."""
    env = {variable.name: variable.value or "" for variable in (item.spec.envs if item.spec else None) or []}
    labels = item.metadata.labels or {}
    return {name: value for name, value in {**env, **labels}.items() if name.startswith(MARK)}


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def read_all(items: Sequence[Any], read: Callable[[Any], View]) -> list[tuple[Any, View]]:
    """Items of the SDK with what evalx sees of them; without those that lack what even the SDK takes for optional, such as a name."""
    found = []
    for item in items:
        try:
            found.append((item, read(item)))
        except (AttributeError, TypeError):
            continue
    return found


def item_id(item: Any) -> str:
    return str(item.metadata.id_ or item.metadata.name)


def snapshot(views: Sequence[View], raw: Sequence[Any], read: Sequence[str]) -> Snapshot[View]:
    """raw: the items as they came. read: ids of those that the SDK could read."""
    items: dict[str, tuple[View, ...]] = {}
    for view in views:
        items[view.name] = (*items.get(view.name, ()), view)
    if len(raw) == len(read):
        return Snapshot(items)
    dropped = [_raw_names(item) for item in raw]
    lost = [names for names in dropped if not set(names) & set(read)]
    return Snapshot(items, frozenset(name for names in lost for name in names), blind=not all(lost))


def _raw_names(item: Any) -> list[str]:
    """Name and id of an item as it came, as far as it has them."""
    data = item.get("metadata") if isinstance(item, dict) else None
    found = [data.get(key) for key in ("id", "name")] if isinstance(data, dict) else []
    return [name for name in found if isinstance(name, str) and name]
