"""What evalx sees of the platform: plain values, without the SDK's types. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from attrs import field, frozen


@frozen
class Endpoint:
    """state: of the SDK's enum, the real one where the platform shows two. marks: evalx's entries in labels and environment."""

    name: str
    state: str
    url: str = ""
    marks: Mapping[str, str] = field(factory=dict)
    owner: str = ""
    created: float | None = None


@frozen
class Job:
    """id: given by the server; several jobs may have one name."""

    id: str
    name: str
    state: str
    marks: Mapping[str, str] = field(factory=dict)
    owner: str = ""
    created: float | None = None
    ended: float | None = None


@frozen
class StoredSecret:
    """A secret of the workspace, of which nobody is shown the value. tags: empty if it has none, or the platform shows none."""

    name: str
    owner: str = ""
    tags: frozenset[str] = frozenset()


View = TypeVar("View", bound=Endpoint | Job)


@frozen
class Snapshot(Generic[View]):
    """A listing. unread: names of what the SDK could not read; blind: some of that has not even a name, so anything may be missing.
    asked: when it was asked for, in monotonic seconds."""

    items: Mapping[str, tuple[View, ...]] = field(factory=dict)
    unread: frozenset[str] = frozenset()
    blind: bool = False
    asked: float = float("-inf")

    def named(self, name: str) -> tuple[View, ...]:
        """All of that name."""
        return self.items.get(name, ())

    def views(self) -> Iterator[View]:
        """All that could be read."""
        return (view for views in self.items.values() for view in views)

    def may_hide(self, beginning: str) -> bool:
        """Whether something whose name begins so may be among what could not be read."""
        return self.blind or any(name.startswith(beginning) for name in self.unread)

    def lacks(self, name: str) -> bool:
        """Whether there is certainly none of that name: what could not be read is unknown, not absent."""
        return name not in self.items and name not in self.unread and not self.blind


@frozen
class Reason:
    """Why something is not ready, as the platform says."""

    reason: str
    message: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.message else self.reason
