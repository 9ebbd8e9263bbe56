"""`evalx logs`: what a task or its endpoint wrote."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, tell
from evalx.model import Spec

if TYPE_CHECKING:
    from evalx.store import RunRecord, Store

INTERVAL = 0.3


@click.command("logs")
@click.argument("run", default="last")
@click.argument("task", required=False)
@click.option("--endpoint", is_flag=True, help="The log of the task's endpoint (or of all endpoints) instead.")
@click.option("-f", "--follow", is_flag=True, help="Go on while the run does.")
@click.option("--tail", "count", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@common_options
def command(run: str, task: str | None, endpoint: bool, follow: bool, count: int | None, as_json: bool) -> None:
    """Show the log of a task, or of all tasks with the name of each before its lines.

    RUN is an id, a unique beginning of one, or last. TASK is a task's name or an endpoint's.
    """
    from evalx.store import Store

    if as_json and follow:
        raise click.UsageError("--json and --follow do not go together.")
    with Store() as store:
        record = store.find(run)
        specs = _specs(record, task, endpoint)
        if as_json:
            emit({"run_id": record.run_id, "logs": [{"name": spec.name, "lines": _past(store, record, spec, count)} for spec in specs]})
        elif follow:
            _follow(store, record, specs, count)
        else:
            _show(store, record, specs, count)


def _specs(record: RunRecord, task: str | None, endpoint: bool) -> list[Spec]:
    """Whose logs are wanted."""
    from evalx.errors import ConfigError

    plan = record.plan
    if task is None:
        return list(plan.endpoints) if endpoint else list(plan.tasks)
    for spec in plan.tasks:
        if spec.name == task:
            return [plan.endpoint(spec.endpoint)] if endpoint else [spec]
    found = [spec for spec in plan.endpoints if spec.name == task]
    if not found:
        raise ConfigError(f"run {record.run_id} has no task '{task}'", f"tasks: {', '.join(spec.name for spec in plan.tasks)}")
    return list(found)


def _show(store: Store, record: RunRecord, specs: list[Spec], count: int | None) -> None:
    written = False
    for spec in specs:
        for text in _past(store, record, spec, count):
            written = True
            click.echo(_labelled(spec, text, specs))
    if not written:
        tell("nothing has been logged yet")


def _labelled(spec: Spec, text: str, specs: list[Spec]) -> str:
    return text if len(specs) == 1 else f"{spec.name} | {text}"


def _past(store: Store, record: RunRecord, spec: Spec, count: int | None) -> list[str]:
    """The lines there are: of the file in the run directory, else what the executor can still read."""
    from evalx.cli.logfiles import lines_of, log_of
    from evalx.display.text import clean

    path = log_of(record.directory, spec)
    if path is not None:
        return lines_of(path, count)
    return list(deque((clean(text) for text in _from_executor(store, record, spec, follow=False)), maxlen=count))


def _follow(store: Store, record: RunRecord, specs: list[Spec], count: int | None) -> None:
    """Write what is there and then what is added, until no process works on the run any more."""
    from evalx.cli.logfiles import Appended, log_of
    from evalx.cli.stored import is_alive
    from evalx.display.text import clean

    if len(specs) == 1 and log_of(record.directory, specs[0]) is None and _has_handle(store, record, specs[0]):
        for text in _from_executor(store, record, specs[0], follow=True):
            click.echo(clean(text))
        return
    logs = [(spec, Appended(record.directory, spec, count)) for spec in specs]
    alive = True
    while alive:
        alive = is_alive(store, store.find(record.run_id))
        for spec, log in logs:
            for text in log.lines():
                click.echo(_labelled(spec, text, specs))
        if alive:
            time.sleep(INTERVAL)


def _has_handle(store: Store, record: RunRecord, spec: Spec) -> bool:
    return any(
        resource.spec.name == spec.name and type(resource.spec) is type(spec) and resource.handle
        for resource in store.resources(record.run_id)
    )


def _from_executor(store: Store, record: RunRecord, spec: Spec, follow: bool) -> Iterator[str]:
    """The log as the run's executor reads it at its backend; nothing if it cannot, or if the resource was never created."""
    from evalx.runs import context_of

    found = [r for r in store.resources(record.run_id) if r.spec.name == spec.name and type(r.spec) is type(spec) and r.handle is not None]
    if not found:
        return iter(())
    handle = max(found, key=lambda resource: resource.attempt).handle
    assert handle is not None
    run = context_of(record.plan, record.directory)
    hooks = run.plugins.hooks(run)
    hooks.setup()
    return hooks.read_logs(handle, follow) or iter(())
