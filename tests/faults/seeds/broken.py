"""evalx with a mistake in it that is known to leak: that the trials find these shows that they can find anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def record_after_create() -> None:
    """What is to be created is written down only when it has been created, as most launchers do."""
    from evalx.ledger import Ledger
    from evalx.store.states import ResourceState

    async def intend(self: Any, resource: Any) -> None:
        resource.created = resource.created or time.time()
        resource.state = ResourceState.INTENT

    Ledger.intend = intend  # type: ignore[method-assign]


def no_settle_window() -> None:
    """What two listings lack is gone, though a create call may still be under way."""
    from evalx_lepton.executor import LeptonExecutor

    LeptonExecutor.settle = 0.0


MISTAKES: dict[str, Callable[[], None]] = {"record_after_create": record_after_create, "no_settle_window": no_settle_window}
