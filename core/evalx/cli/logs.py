"""`evalx logs`: what a task, its endpoint or evalx itself wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import click

from evalx.cli.options import asked, common_options, moment
from evalx.cli.output import emit, tell
from evalx.model import Spec

if TYPE_CHECKING:
    from evalx.store import RunRecord, Store

INTERVAL = 0.3

OWN = "evalx"
"""Named as a task, unless one is called so: evalx's own log."""


@click.command("logs")
@click.argument("run", default="last")
@click.argument("task", required=False)
@click.option("--endpoint", is_flag=True, help="The log of the task's endpoint (or of all endpoints) instead.")
@click.option("-f", "--follow", is_flag=True, help="Go on while the run does.")
@click.option("--tail", "count", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--since", metavar="TIME", callback=moment, help="Only what was written since: 10m ago, or 2026-05-01T13:45.")
@common_options
def command(run: str, task: str | None, endpoint: bool, follow: bool, count: int | None, since: float | None, as_json: bool) -> None:
    """Show the log of a task, or of all tasks with the name of each before its lines.

    RUN is an id, a unique beginning of one, or last. TASK is a task's name or an endpoint's; or evalx, for what evalx itself has done, with
    the time of each step.

    Logs are shown as their programs wrote them. --since goes by when evalx saw them grow, every two seconds, or by the platform's own
    times: a little more may be shown, never less.
    """
    from evalx.cli import messages
    from evalx.store import Store

    messages.configure(asked().verbosity)
    if as_json and follow:
        raise click.UsageError("--json and --follow do not go together.")
    with Store() as store:
        record = store.find(run)
        shown = _chosen(store, record, task, endpoint)
        if as_json:
            logs = [{"name": log.name, "lines": log.past(count, since)} for log in shown]
            emit({"run_id": record.run_id, "logs": logs})
        elif follow:
            _follow(store, record, shown, count, since)
        else:
            _show(shown, count, since)


class Log(Protocol):
    """One log of a run."""

    name: str

    def past(self, count: int | None, since: float | None) -> list[str]:
        """The lines there are."""

    def alone(self, since: float | None) -> Iterator[str] | None:
        """Its lines as they come until it is over, if it can only be followed by itself."""

    def more(self, count: int | None, since: float | None) -> list[str]:
        """The lines since the last call; the arguments are for the first."""


def _chosen(store: Store, record: RunRecord, task: str | None, endpoint: bool) -> Sequence[Log]:
    from evalx.logfiles import wanted

    plan = record.plan
    if task == OWN and not endpoint and OWN not in [task.name for task in plan.tasks] + [one.name for one in plan.endpoints]:
        return [_Own(store, record)]
    return [_Written(store, record, spec) for spec in wanted(record, task, endpoint)]


class _Written:
    """What a task or an endpoint wrote."""

    def __init__(self, store: Store, record: RunRecord, spec: Spec) -> None:
        from evalx.logfiles import Appended

        self.name = spec.name
        self._store, self._record, self._spec = store, record, spec
        self._appended: Appended | None = None

    @property
    def is_of_task(self) -> bool:
        from evalx.model import TaskSpec

        return isinstance(self._spec, TaskSpec)

    @property
    def is_foreign(self) -> bool:
        """Whether it is of an endpoint that the run has found, and not deployed."""
        from evalx.model import EndpointHandle

        handles = [resource.handle for resource in self._store.resources(self._record.run_id) if resource.spec == self._spec]
        return any(isinstance(handle, EndpointHandle) and not handle.owned for handle in handles)

    def past(self, count: int | None, since: float | None) -> list[str]:
        from evalx.logfiles import past_lines

        return past_lines(self._store, self._record, self._spec, count, since)

    def alone(self, since: float | None) -> Iterator[str] | None:
        from evalx.display.text import clean
        from evalx.logfiles import from_executor, log_of
        from evalx.redaction import redact

        if log_of(self._record.directory, self._spec) is not None or not self._has_handle():
            return None
        return (redact(clean(text)) for text in from_executor(self._store, self._record, self._spec, follow=True, since=since))

    def _has_handle(self) -> bool:
        return any(
            resource.spec.name == self._spec.name and type(resource.spec) is type(self._spec) and resource.handle
            for resource in self._store.resources(self._record.run_id)
        )

    def more(self, count: int | None, since: float | None) -> list[str]:
        from evalx.logfiles import Appended

        if self._appended is None:
            self._appended = Appended(self._record.directory, self._spec, count, since)
        return self._appended.lines()


class _Own:
    """What evalx did."""

    name = OWN

    def __init__(self, store: Store, record: RunRecord) -> None:
        from evalx.display.diary import Diary

        self._store, self._run_id = store, record.run_id
        self._diary = Diary(record.plan)
        self._seen = 0

    def past(self, count: int | None, since: float | None) -> list[str]:
        from evalx.redaction import redact

        events = self._store.events(self._run_id, self._seen)
        first = self._seen == 0
        self._seen = events[-1].seq if events else self._seen
        lines = [redact(text) for text in self._diary.lines(events, since)]
        return lines if count is None or not first else lines[max(0, len(lines) - count) :]

    def alone(self, since: float | None) -> None:  # noqa: ARG002 -- as other logs
        return None

    more = past


def _show(logs: Sequence[Log], count: int | None, since: float | None) -> None:
    written = False
    for log in logs:
        for text in log.past(count, since):
            written = True
            click.echo(_labelled(log, text, logs))
    if not written:
        foreign = all(isinstance(log, _Written) and log.is_foreign for log in logs)
        nothing = "nothing has been logged yet" if since is None else "nothing has been logged since then"
        tell("the endpoint was there before the run: its log is where its server runs" if logs and foreign else nothing)


def _labelled(log: Log, text: str, logs: Sequence[Log]) -> str:
    return text if len(logs) == 1 else f"{log.name} | {text}"


def _follow(store: Store, record: RunRecord, logs: Sequence[Log], count: int | None, since: float | None) -> None:
    """Write what is there and then what is added, until no process works on the run any more; of an endpoint, while one keeps it."""
    from evalx.standing import is_alive, is_working

    if len(logs) == 1 and (stream := logs[0].alone(since)) is not None:
        for text in stream:
            click.echo(text)
        return
    goes_on = is_working if all(isinstance(log, _Written) and log.is_of_task for log in logs) else is_alive
    alive = True
    while alive:
        alive = goes_on(store, store.find(record.run_id))
        for log in logs:
            for text in log.more(count, since):
                click.echo(_labelled(log, text, logs))
        if alive:
            time.sleep(INTERVAL)
