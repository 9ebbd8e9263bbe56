"""`evalx plan`: all that a run would create, before anything is."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from evalx.cli.options import ConfigChoice, common_options, config_options
from evalx.cli.output import as_text, create_file, emit, tell, write
from evalx.cli.wording import say
from evalx.display.text import clean, duration, plural
from evalx.errors import EvalxError, ExitCode

if TYPE_CHECKING:
    from evalx.cli.preview import Preview
    from evalx.config import Config
    from evalx.context import RunContext
    from evalx.model import EndpointSpec, Finding, RunPlan, Spec, TaskCommand, TaskSpec

UNNAMED = "<run id>"
"""Stands for the id that a run is given when it starts."""

PLACE = "http://ENDPOINT"
"""Stands for the address that an endpoint has once it is deployed."""

PORT = 65536
"""Stands for the port that a task is given when it starts; no port has this number."""


@click.command("plan")
@config_options
@click.option("--trust-commands", is_flag=True, help="As for run: pre_cmd and post_cmd of the config may run.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the plan into a new file as well, as JSON.")
@common_options
def command(choice: ConfigChoice, trust_commands: bool, out: Path | None, as_json: bool) -> int:
    """Show everything that `evalx run` with the same arguments would create, and create nothing.

    Ends with 2 if the config is wrong or the executor finds that the run could not work here, and with 4 if the backend refuses the
    credentials. A backend that cannot be asked, for want of credentials say, is told of: then the plan is shown, but not validated there.
    """
    return show(choice.load(), trust_commands, as_json, out)


def show(config: Config, trust_commands: bool, as_json: bool, out: Path | None = None) -> int:
    """Print the plan of a config, and write it as JSON to `out`; returns the exit code. Raises ConfigError if there is such a file."""
    from evalx.plan import make_plan
    from evalx.runs import context_of

    plan = make_plan(config)
    directory = Path(config.execution.output_dir).expanduser().absolute() / plan.run_id
    run = context_of(plan, directory, trust_commands=trust_commands, settings=config.execution)
    hooks = run.plugins.hooks(run)
    hooks.setup()
    findings = [finding for finding in [*hooks.preflight(), *_priced(run)] if finding.level in ("error", "warning")]
    preview = _preview(run, findings)
    told = {**_as_json(run, findings), "preview": preview.told if preview else None}
    if out is not None:
        create_file(out, as_text(told) + "\n", "choose another name for --out")
    if as_json:
        emit(told)
    else:
        write(_screen(run, preview))
        _tell(findings)
    return int(_verdict(findings))


def _priced(run: RunContext) -> Iterator[Finding]:
    """Give the plan what the executor says of billing. What keeps it from telling is found by preflight, or told of here."""
    from evalx.cost import check_prices, with_billing
    from evalx.model import Finding

    try:
        run.plan = with_billing(run.plan, run.plugins.hooks(run))
        check_prices(run.plan)
    except EvalxError as error:
        yield Finding("error", str(error), error.hint)


def _preview(run: RunContext, findings: Iterable[Finding]) -> Preview | None:
    """What the executor would send; None if it does not tell, or cannot because of what it has found wrong."""
    from evalx.cli.preview import Preview

    try:
        told = run.plugins.hooks(run).preview()
    except EvalxError:
        if _verdict(findings) is ExitCode.OK:
            raise
        return None
    return Preview(told, run.run_id, UNNAMED) if told is not None else None


def _verdict(findings: Iterable[Finding]) -> ExitCode:
    kinds = {finding.kind for finding in findings if finding.level == "error" and not finding.unasked}
    if not kinds:
        return ExitCode.OK
    return ExitCode.AUTH if "auth" in kinds else ExitCode.USAGE


def _tell(findings: Iterable[Finding]) -> None:
    for finding in findings:
        say(*(("warning", f"not validated: {finding.message}") if finding.unasked else (finding.level, finding.message)))
        if finding.hint:
            say("hint", finding.hint)
    tell("nothing has been created")


def name_of(run: RunContext, spec: Spec) -> str:
    """The resource's name, with the part that differs from run to run left open."""
    return run.resource_name(spec).replace(run.run_id, UNNAMED)


def command_of(run: RunContext, task: TaskSpec) -> TaskCommand:
    """The task's command as far as it is known before its endpoint has an address. Raises ConfigError if it does not fit its harness."""
    from evalx.harnesses.build import task_command
    from evalx.model import EndpointHandle, Site

    spec, dataset = run.plan.endpoint(task.endpoint), task.options.get("dataset_dir")
    url = (spec.options.get("target") or {}).get("url") or PLACE
    site = Site("TASK_DIR", PORT, "DATASET_DIR" if dataset else None, containerised=bool(task.options.get("container")))
    made = task_command(run.plugins.harness(task.harness), task, EndpointHandle(spec, run.resource_name(spec), url), site, trusted=True)
    return evolve(
        made,
        argv=tuple(map(_portless, made.argv)),
        env={name: _portless(value) if isinstance(value, str) else value for name, value in made.env.items()},
        files={name: _portless(text) for name, text in made.files.items()},
    )


def _portless(text: str) -> str:
    return text.replace(str(PORT), "PORT")


def _screen(run: RunContext, preview: Preview | None) -> Iterator[str]:
    plan = run.plan
    yield f"{plural(len(plan.tasks), 'task')} on {plural(len(plan.endpoints), 'endpoint')}, executor {plan.executor}"
    yield from _facts(_general(run))
    for variant, options in _deployments(plan):
        yield f"\ndeployment {variant}"
        yield from _yaml(options)
    for spec in plan.endpoints:
        yield f"\nendpoint {clean(spec.name)}"
        yield from _facts(_endpoint(run, spec))
        yield from preview.of("endpoints", spec.name) if preview else ()
    for task in plan.tasks:
        yield f"\ntask {clean(task.name)}"
        yield from _facts(_task(run, task))
        yield from preview.of("tasks", task.name) if preview else ()
    yield from preview.rest() if preview else ()


def _facts(facts: Iterable[tuple[str, object]]) -> Iterator[str]:
    for name, value in facts:
        if value not in (None, "", ()):
            yield f"  {name:<10} {clean(value)}"


def _general(run: RunContext) -> Iterator[tuple[str, object]]:
    from evalx.cost import forecast, forecast_in_words, money

    plan, limits = run.plan, run.plan.limits
    yield "start", "each task when its endpoint is ready" if plan.start == "pipelined" else "no task before all endpoints are ready"
    counts = [f"{number} {what} at once" for number, what in ((limits.max_tasks, "tasks"), (limits.max_endpoints, "endpoints")) if number]
    yield "limits", ", ".join(counts)
    yield "deadline", duration(limits.max_duration) if limits.max_duration is not None else "none for the whole run"
    if limits.keep is not None:
        yield "kept", f"endpoints, for {duration(limits.keep)} after the last task"
    yield "results", run.directory.parent / UNNAMED
    yield "exports", ", ".join(f"{one.exporter} to {one.output}" if one.output else one.exporter for one in run.plan.exports)
    yield "cost", forecast_in_words(forecast(plan))
    if limits.max_cost is not None:
        yield "max cost", money(limits.max_cost, str(plan.execution.get("currency") or ""))


def _cost(plan: RunPlan) -> dict[str, Any]:
    from evalx.cost import forecast

    told = forecast(plan)
    amounts = {"per_hour": told.per_hour, "at_most": told.at_most, "max_cost": plan.limits.max_cost}
    return {**amounts, "currency": told.currency, "unpriced": list(told.unpriced)}


def _deployments(plan: RunPlan) -> list[tuple[str, Mapping[str, Any]]]:
    """The different deployments of the plan, each once."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for spec in plan.endpoints:
        deployment = (spec.variant, spec.options)
        if deployment not in found:
            found.append(deployment)
    return found


def _yaml(options: Mapping[str, Any]) -> Iterator[str]:
    import yaml

    from evalx.serial import to_json

    target = _told(to_json(options.get("target")) or {})
    told = {**_told(to_json(options.get("deployment")) or {}), **({"target.api_endpoint": target} if target else {})}
    if told:
        yield from (f"  {text}" for text in clean(yaml.safe_dump(told, sort_keys=False, allow_unicode=True)).splitlines())


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was not given, and without the variant, which the heading names."""
    return {key: value for key, value in values.items() if key != "type" and value not in (None, [], {}, "")}


def _endpoint(run: RunContext, spec: EndpointSpec) -> Iterator[tuple[str, object]]:
    yield "name", name_of(run, spec)
    yield (
        "deploys",
        f"{spec.variant}, model {spec.model}" if spec.variant != "none" else f"nothing: uses an endpoint that exists, model {spec.model}",
    )
    yield "deadline", f"ready within {duration(spec.ready_timeout)}"
    yield "serves", ", ".join(task.name for task in run.plan.tasks if task.endpoint == spec.name and task.name != spec.name)


def _task(run: RunContext, task: TaskSpec) -> Iterator[tuple[str, object]]:
    made, options = command_of(run, task), task.options
    yield "name", name_of(run, task)
    yield "harness", task.harness
    yield "suite", _suite(task)
    yield "image", made.image or "none, runs where the executor does"
    yield "endpoint", f"{task.endpoint} ({options.get('endpoint_type') or 'chat'})"
    yield "deadline", f"over within {duration(task.timeout)}{_after_queue(run)}"
    yield "command", shlex.join(made.argv)
    yield "files", ", ".join(made.files)
    yield "env", "\n             ".join(f"{key}={value}" for key, value in _env(made).items())
    untrusted = [key for key in ("pre_cmd", "post_cmd") if options.get(key)] if not run.trust_commands else []
    yield "refused", f"{' and '.join(untrusted)} without --trust-commands" if untrusted else ""


def _after_queue(run: RunContext) -> str:
    queue = run.plan.limits.queue
    return f" of its start, started within {duration(queue)}" if queue is not None else ""


def _suite(task: TaskSpec) -> str | None:
    """The suite, and why it was chosen where several have a task of this name."""
    suite, why = task.options.get("suite"), task.options.get("note")
    return f"{suite} ({why})" if suite and why else suite


def _env(made: TaskCommand) -> dict[str, str]:
    """Variables of the task; of a secret only where its value will be taken from."""
    from evalx.model import Secret

    return {name: f"<{value.ref}>" if isinstance(value, Secret) else value for name, value in made.env.items()}


def _as_json(run: RunContext, findings: Iterable[Finding]) -> dict[str, Any]:
    from evalx.serial import to_json

    plan = to_json(run.plan)
    for entry, endpoint in zip(plan["endpoints"], run.plan.endpoints, strict=True):
        entry["resource"] = name_of(run, endpoint)
    for entry, task in zip(plan["tasks"], run.plan.tasks, strict=True):
        made = command_of(run, task)
        entry["resource"] = name_of(run, task)
        entry["command"] = {"argv": list(made.argv), "image": made.image, "env": _env(made), "files": dict(made.files)}
    kept = {key: value for key, value in plan.items() if key not in ("run_id", "created")}
    told = [to_json(finding) for finding in findings]
    return {**kept, "directory": str(run.directory.parent / UNNAMED), "cost": _cost(run.plan), "findings": told}
