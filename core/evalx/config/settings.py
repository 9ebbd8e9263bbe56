"""What plugin authors use to say which keys they understand: attrs classes whose fields carry their own documentation.

    @frozen(kw_only=True)
    class Settings(ExecutionSettings):
        workers: int = setting(4, help="How many tasks run at the same time.")
        zone: str = setting(help="Zone in which machines are rented.")         # mandatory

Types of fields: bool, int, float, str, Literal, Enum, Path, Any, Optional and other unions of these, list, tuple[X, ...], Mapping[str, X],
and further attrs classes. `evalx.config.structure` turns plain data into such a class and says what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from attrs import NOTHING, field, frozen

DAY = 86400.0

SHORTEST_KEEP, LONGEST_KEEP = 1.0, 7 * DAY
"""Seconds for which endpoints may be kept. Whoever needs a model for weeks wants a deployment of their own, and no run that ends it."""


def setting(
    default: Any = NOTHING,
    *,
    help: str,  # noqa: A002
    factory: Callable[[], Any] | None = None,
    validator: Any = None,
    example: Any = None,
) -> Any:
    """A key of a config section: an attrs field with the sentence that errors and reference tables show for it.

    Without default or factory the key is mandatory. validator: an attrs validator; the message of its ValueError is shown to the user.
    example: what `evalx init` writes for it, where nearly every config says something.
    """
    metadata = {"help": help, "example": example}
    if factory is not None:
        return field(factory=factory, metadata=metadata, validator=validator)
    return field(default=default, metadata=metadata, validator=validator)


def at_least(minimum: float) -> Callable[[Any, Any, Any], None]:
    """Validator for `setting`: a number not below the minimum (None passes)."""

    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if isinstance(value, int | float) and value < minimum:
            raise ValueError(f"must be at least {minimum:g}, not {value:g}", attribute)

    check.minimum = minimum  # type: ignore[attr-defined]
    return check


def a_port(_instance: Any, attribute: Any, value: int | None) -> None:
    """Validator for `setting`: a TCP port, or 0, as None, for one that is free or usual."""
    if value is not None and not 0 <= value <= 65535:
        raise ValueError(f"must be a TCP port, from 1 to 65535, not {value}", attribute)


def _keep(_instance: Any, attribute: Any, value: Any) -> None:
    if value is None or SHORTEST_KEEP <= value <= LONGEST_KEEP:
        return
    longer = value > LONGEST_KEEP
    found = f"{value / DAY:g} days; what is needed for longer is deployed by other means (deployment=none)" if longer else f"{value:g} s"
    raise ValueError(f"must be from {SHORTEST_KEEP:g} second to {LONGEST_KEEP / DAY:g} days, not {found}", attribute)


def _prices(_instance: Any, attribute: Any, value: Any) -> None:
    for shape, price in value.items():
        if not 0 <= price < math.inf:
            raise ValueError(f"the price of {shape} must be a number that is not negative, not {price:g}", attribute)


@frozen(kw_only=True)
class ExecutionSettings:
    """The keys of `execution` that every executor has. Durations are seconds; None means no limit."""

    type: str = setting(help="The executor: plugin name, for example `local`.")
    output_dir: str = setting("evalx-runs", help="Folder in which each run gets a folder of its own.", example="evalx-runs")
    env_var_names: tuple[str, ...] = setting((), help="Variables of evalx's own environment that every task is given.")
    start: Literal["pipelined", "all_ready"] = setting(
        "pipelined", help="`pipelined`: a task starts when its own endpoint is ready; `all_ready`: when all endpoints are."
    )
    endpoints: Literal["per_task", "shared"] | int = setting(
        "per_task", help="`per_task`: an endpoint for each task; `shared`: one for all; a number: a pool of so many.", validator=at_least(1)
    )
    max_tasks: int | None = setting(None, help="How many tasks may run at the same time.", validator=at_least(1))
    max_endpoints: int | None = setting(None, help="How many endpoints may exist at the same time.", validator=at_least(1))
    max_duration: float | None = setting(None, help="Seconds after which the run is ended.", validator=at_least(0))
    keep_endpoints: float | None = setting(
        None,
        help="Seconds for which the run's endpoints stay up when its tasks are over; by default each is deleted with its last task.",
        validator=_keep,
    )
    max_cost: float | None = setting(
        None,
        help="What the run may cost, in the currency of the prices; it is ended when it has. Every shape needs a price then.",
        validator=at_least(0),
    )
    prices: Mapping[str, float] = setting(
        factory=dict,
        help="Shape → what one of it costs in an hour, for `max_cost` and for what is told of a run's cost.",
        validator=_prices,
    )
    currency: str = setting("", help="What prices are in, as it is to be shown: EUR, USD, credits, …")
    no_progress_timeout: float | None = setting(
        3600.0,
        help="Seconds without a sign of progress (samples done, growth of its log) after which what tells such signs is given up.",
        validator=at_least(0),
    )

    @property
    def ready_timeout(self) -> float:
        """Seconds from deploying an endpoint until it must answer. An executor with a key for it overrides this."""
        return 1200.0

    @property
    def task_timeout(self) -> float:
        """Seconds that a task may take, unless it says otherwise."""
        return 14400.0

    @property
    def queue_timeout(self) -> float | None:
        """Seconds that a task may wait for the platform before it runs. None: the executor cannot tell when it does."""
        return None
