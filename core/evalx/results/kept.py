"""A run as its directory tells it, on this machine or wherever the directory was copied."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from evalx.errors import RunNotFound
from evalx.model import Json, RunPlan, TaskResult, TaskSpec
from evalx.redaction import refer
from evalx.results.store import RESULT_FILE, damaged, read_result
from evalx.serial import from_json
from evalx.store import Store
from evalx.store.states import RunState

PLAN_FILE = "plan.json"


@frozen
class KeptTask:
    """A task with its result. folder: its folder in the run directory, where `results` lies."""

    result: TaskResult
    folder: Path

    @property
    def spec(self) -> TaskSpec:
        return self.result.spec


@frozen
class KeptRun:
    """closed: the run is over. tasks: those that have a result, in the plan's order. manifest: {} if there is none."""

    run_id: str
    directory: Path
    plan: RunPlan
    closed: bool
    tasks: tuple[KeptTask, ...]
    manifest: Json = field(factory=dict, repr=False)

    def task(self, name: str) -> KeptTask | None:
        """The task of that name, if it has a result."""
        return next((task for task in self.tasks if task.spec.name == name), None)

    @property
    def models(self) -> list[str]:
        """The names of the models that were evaluated."""
        return list(dict.fromkeys(endpoint.model for endpoint in self.plan.endpoints))


def kept_run(text: str) -> KeptRun:
    """The run of an id, a unique beginning of one, `last`, or a path to a run directory.

    A text with a slash, or the name of a run directory, is a path. Raises RunNotFound, and StoreError for what cannot be read.
    """
    if "/" in text or Path(text, PLAN_FILE).is_file():
        return run_in(Path(text))
    with Store() as store:
        record = store.find(text)
    if not (record.directory / PLAN_FILE).is_file():
        hint = "name the directory itself, if it was moved"
        raise RunNotFound(f"the directory of run {record.run_id} is gone: {record.directory}", hint)
    return run_in(record.directory, closed=record.state.settled)


def run_in(directory: Path, closed: bool | None = None) -> KeptRun:
    """The run in a directory. closed: whether it is over, if that is known better than from its events. Raises as `kept_run`."""
    directory = directory.expanduser().absolute()
    path = directory / PLAN_FILE
    if not path.is_file():
        raise RunNotFound(f"{directory} is not a run directory: it has no {PLAN_FILE}", "evalx ls shows the runs of this machine")
    plan = _plan(path)
    tasks = tuple(sorted(_tasks(directory), key=lambda task: task.spec.index))
    over = _closed(directory) if closed is None else closed
    return KeptRun(plan.run_id, directory, plan, over, tasks, _manifest(directory))


def _plan(path: Path) -> RunPlan:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        refer(data)
        return from_json(RunPlan, data)
    except Exception as error:
        # Whatever a damaged file makes json or cattrs raise.
        raise damaged(path, error) from error


def _tasks(directory: Path) -> Iterator[KeptTask]:
    """Each task once, in its newest attempt."""
    newest: dict[int, KeptTask] = {}
    for path in (directory / "tasks").glob(f"*/{RESULT_FILE}"):
        task = KeptTask(read_result(path.parent), path.parent)
        before = newest.get(task.spec.index)
        if before is None or task.spec.attempt > before.spec.attempt:
            newest[task.spec.index] = task
    yield from newest.values()


def _closed(directory: Path) -> bool:
    """Whether the last thing that its events tell of the run as a whole is its end."""
    state = ""
    try:
        with (directory / "events.jsonl").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if '"run"' in line:
                    state = _state(line) or state
    except OSError:
        return False
    return state in (RunState.KEEPING, RunState.CLOSED)


def _state(line: str) -> str | None:
    try:
        event: Any = json.loads(line)
    except ValueError:
        return None  # a line that was being written when the directory was copied
    return str(event.get("state")) if isinstance(event, dict) and event.get("kind") == "run" else None


def _manifest(directory: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
