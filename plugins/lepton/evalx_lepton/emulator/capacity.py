"""How many replicas may exist at a time, by shape; the rest waits, first come first served."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from attrs import define, field


@define
class Capacity:
    """limits: by a glob on the shape's name; shapes that match none have no limit."""

    limits: Mapping[str, int]
    _held: dict[str, str] = field(factory=dict)
    _waiting: dict[str, str] = field(factory=dict)

    def take(self, owner: str, shape: str) -> bool:
        """Get a place, or a place in the queue. owner: a replica's id."""
        pool = self._pool(shape)
        if pool is None or owner in self._held:
            return True
        self._waiting.setdefault(owner, pool)
        ahead = [other for other, waits_for in self._waiting.items() if waits_for == pool].index(owner)
        if ahead >= self.limits[pool] - self._used(pool):
            return False
        self._held[owner] = self._waiting.pop(owner)
        return True

    def release(self, owner: str) -> None:
        """Give the place back, or leave the queue."""
        self._held.pop(owner, None)
        self._waiting.pop(owner, None)

    def describe(self, shape: str) -> str:
        """Why a replica of that shape waits."""
        pool = self._pool(shape)
        return f"no capacity for {shape}: {self._used(pool)} of {self.limits[pool]} in use" if pool else f"no capacity for {shape}"

    def _pool(self, shape: str) -> str | None:
        return next((glob for glob in self.limits if fnmatchcase(shape, glob)), None)

    def _used(self, pool: str) -> int:
        return sum(held == pool for held in self._held.values())
