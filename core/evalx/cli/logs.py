"""`evalx logs`: what a task or its endpoint wrote."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from evalx.cli.options import asked, common_options
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
    from evalx.cli import messages
    from evalx.logfiles import past_lines, wanted
    from evalx.store import Store

    messages.configure(asked().verbosity)
    if as_json and follow:
        raise click.UsageError("--json and --follow do not go together.")
    with Store() as store:
        record = store.find(run)
        specs = wanted(record, task, endpoint)
        if as_json:
            emit(
                {"run_id": record.run_id, "logs": [{"name": spec.name, "lines": past_lines(store, record, spec, count)} for spec in specs]}
            )
        elif follow:
            _follow(store, record, specs, count)
        else:
            _show(store, record, specs, count)


def _show(store: Store, record: RunRecord, specs: list[Spec], count: int | None) -> None:
    from evalx.logfiles import past_lines

    written = False
    for spec in specs:
        for text in past_lines(store, record, spec, count):
            written = True
            click.echo(_labelled(spec, text, specs))
    if not written:
        tell("nothing has been logged yet")


def _labelled(spec: Spec, text: str, specs: list[Spec]) -> str:
    return text if len(specs) == 1 else f"{spec.name} | {text}"


def _follow(store: Store, record: RunRecord, specs: list[Spec], count: int | None) -> None:
    """Write what is there and then what is added, until no process works on the run any more."""
    from evalx.display.text import clean
    from evalx.logfiles import Appended, from_executor, log_of
    from evalx.redaction import redact
    from evalx.standing import is_alive

    if len(specs) == 1 and log_of(record.directory, specs[0]) is None and _has_handle(store, record, specs[0]):
        for text in from_executor(store, record, specs[0], follow=True):
            click.echo(redact(clean(text)))
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
