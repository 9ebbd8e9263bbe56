"""Places at which a test makes evalx die, fail or hang: `EVALX_FAILPOINT=NAME:HIT:ACTION`, several separated by commas.

NAME is one of `NAMES`. HIT is the how-manieth time that the process comes there, from 1. ACTION is `kill` (SIGKILL, at once),
`raise` (a `Failpoint`, which nothing is prepared for) or `hang` (that thread goes no further). The command line arms them when it starts;
where nothing is armed, coming to a place costs one look into an empty dictionary.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from evalx.errors import ConfigError

HOOKS = ("preflight", "deploy", "wait_ready", "run_task", "collect", "cancel", "cleanup", "teardown")

NAMES = {
    **{f"hook.{hook}.{when}": f"{when} the executor's hook {hook} is called" for hook in HOOKS for when in ("before", "after")},
    "run.created": "the run is in the store, its manifest is not written",
    "run.closed": "how the run ended is in the store, its manifest does not say so yet",
    "manifest.written": "the manifest is written beside the one that it will replace",
    "lease.taken": "a run that exists belongs to this process, which has done nothing with it yet",
    "lease.returned": "before this process gives the run up",
    "commit.before": "in a transaction of the store, right before it is committed",
    "commit.after": "a transaction of the store is committed, the event file does not say so yet",
    "events.written": "the event file says so as well",
    "intent.before": "before the name of what is to be created is committed",
    "intent.after": "the name is committed, the create call has not gone out",
    "create.answered": "it exists, and what is known of it is not committed",
    "create.recorded": "what is known of it is committed",
    "result.known": "a task's result is here, and nowhere else",
    "result.written": "the result is in its file, and not in the store",
    "result.stored": "the result is in the store, and what held it is not deleted",
    "delete.before": "before something is deleted",
    "delete.proven": "it is proven to be gone, which is not committed",
    "executor.secret.before": "in an executor, before a secret is created",
    "executor.secret.after": "it is created",
    "executor.endpoint.before": "in an executor, before an endpoint is created",
    "executor.endpoint.after": "it is created, and nobody but the backend knows",
    "executor.task.before": "in an executor, before a task's job is created",
    "executor.task.after": "it is created, and nobody but the backend knows",
    "executor.delete.before": "in an executor, before an endpoint or job is deleted",
    "executor.delete.after": "the backend was told to",
    "executor.secret.deleted": "one of the run's secrets is deleted",
}
"""Every place, and what is true there. Executors of others may use those of executors."""


class Failpoint(Exception):
    """Raised by a failpoint."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise() -> None:
    raise Failpoint("a failpoint was reached")


def _hang() -> None:
    threading.Event().wait()


ACTIONS: dict[str, Callable[[], None]] = {"kill": _kill, "raise": _raise, "hang": _hang}

_armed: dict[str, dict[int, Callable[[], None]]] = {}
_hits: dict[str, int] = {}
_lock = threading.Lock()


def arm(text: str) -> None:
    """Arm what the text says, and nothing else; the counting begins anew. Raises ConfigError for what does not exist."""
    _armed.clear()
    _hits.clear()
    for part in filter(None, text.split(",")):
        name, hit, action = _parsed(part)
        _armed.setdefault(name, {})[hit] = ACTIONS[action]


def reach(name: str) -> None:
    """The process comes to this place."""
    if name not in _armed:
        return
    with _lock:
        _hits[name] = hit = _hits.get(name, 0) + 1
    action = _armed[name].get(hit)
    if action is not None:
        action()


def _parsed(part: str) -> tuple[str, int, str]:
    name, _, rest = part.strip().partition(":")
    hit, _, action = rest.partition(":")
    if name not in NAMES:
        raise ConfigError(f"EVALX_FAILPOINT: there is no failpoint {name!r}", f"there are: {', '.join(NAMES)}")
    if not hit.isdecimal() or int(hit) < 1 or action not in ACTIONS:
        raise ConfigError(f"EVALX_FAILPOINT: {part!r} is not NAME:HIT:ACTION", f"HIT is from 1, ACTION is one of {', '.join(ACTIONS)}")
    return name, int(hit), action
