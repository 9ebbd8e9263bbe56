"""What is right and wrong with this machine, its state, the plugins, and the executor of a config: the checks of `evalx doctor`.

Nothing is created. What an executor needs is its own business, and it says so already: the hook `preflight` is asked, with the plan of the
config, or without a config with an empty plan and the executor's default settings.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from evalx import __version__, catalog
from evalx.errors import AuthError, ConfigErrors, EvalxError, ExitCode
from evalx.model import Finding
from evalx.places import DATABASE, state_directory

if TYPE_CHECKING:
    from evalx.config import Config
    from evalx.context import RunContext

LITTLE, TOO_LITTLE = 1 << 30, 100 << 20
"""Bytes of free disk below which is warned, and below which a run is not worth starting: logs and result files of one easily take these."""


@frozen
class Checked:
    """A part of what was looked at, and what was found."""

    title: str
    findings: Sequence[Finding]


def machine() -> Checked:
    """evalx, Python, and where state is kept."""
    about = f"evalx {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return Checked("this machine", [ok(about), *_guarded(_state())])


def plugins() -> Checked:
    """Every installed plugin, imported and looked at."""
    from evalx.checkup import check

    report = check()
    problems = [*report.general, *(problem for _, found in report.found for problem in found)]
    found = [Finding("error", f"{problem.where}: {problem.message}", problem.hint) for problem in problems]
    good = sum(not wrong for _, wrong in report.found)
    blocked = [Finding("note", f"{name} is blocked by EVALX_BLOCK") for name in sorted(catalog.blocked_names())]
    return Checked("plugins", [ok(f"{good} of {len(report.found)} can be used"), *found, *blocked])


def harnesses() -> Checked:
    """Programs of harnesses on the PATH; a config may name another place for each, so that none of them must be there."""
    return Checked("harnesses", list(_harnesses()))


def configured(config: Config) -> Checked:
    """What the config needs of its executor, and of this machine."""
    from evalx.plan import make_plan
    from evalx.runs import context_of

    def look() -> Iterator[Finding]:
        yield from _output(config.execution.output_dir)
        plan = make_plan(config)
        directory = Path(config.execution.output_dir).expanduser().absolute() / plan.run_id
        yield from _preflight(context_of(plan, directory, settings=config.execution))

    return Checked(f"{config.path.name} on {config.execution.type}", list(_guarded(look())))


def refused(config: str, error: EvalxError) -> Checked:
    """A config that cannot be read."""
    return Checked(config, list(_of(error)))


def executor(name: str, overrides: Sequence[str] = (), *, needed: bool) -> Checked:
    """What an executor finds without a config. needed: the user asked for it; else it may be one that nobody here wants to use."""
    from evalx.config import execution_settings
    from evalx.model import RunPlan
    from evalx.plan import new_run_id
    from evalx.runs import context_of
    from evalx.serial import to_json

    def look() -> Iterator[Finding]:
        settings = execution_settings(name, overrides)
        yield from _output(settings.output_dir) if needed else ()
        plan = RunPlan(new_run_id(), name, (), (), execution=to_json(settings))
        yield from _preflight(context_of(plan, Path(settings.output_dir).expanduser().absolute() / plan.run_id, settings=settings))

    found = list(_guarded(look()))
    if not needed:
        found = [evolve(finding, level="warning") if finding.level == "error" else finding for finding in found]
    return Checked(f"executor {name}", found)


def runs() -> Checked | None:
    """Runs of this machine that nobody works on and that may have something alive; None if there is no state, or it cannot be read."""
    from evalx.standing import is_alive, left_alive
    from evalx.store import Store

    try:
        if not (state_directory() / DATABASE).is_file():
            return None
        with Store() as store:
            idle = [record for record in store.runs() if not is_alive(store, record)]
            left = {record.run_id: [resource.name for resource in left_alive(store, record)] for record in idle}
    except EvalxError:
        return None  # told of with the state directory
    found = [
        Finding("error", f"run {run_id} may have left alive: {', '.join(names)}", f"evalx cleanup {run_id}", kind="alive")
        for run_id, names in left.items()
        if names
    ]
    return Checked("runs", found or [ok("none has left anything alive")])


def verdict(checked: Iterable[Checked]) -> ExitCode:
    """The exit code: what may be alive wins, as everywhere, then refused credentials."""
    kinds = {finding.kind for part in checked for finding in part.findings if finding.level == "error"}
    if "alive" in kinds:
        return ExitCode.DIRTY
    if "auth" in kinds:
        return ExitCode.AUTH
    return ExitCode.USAGE if kinds else ExitCode.OK


def ok(message: str) -> Finding:
    """Something that is as it should be."""
    return Finding("ok", message)


def _of(error: EvalxError) -> Iterator[Finding]:
    for single in error.errors if isinstance(error, ConfigErrors) else [error]:
        yield Finding("error", str(single), single.hint, kind="auth" if isinstance(single, AuthError) else "config")


def _guarded(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Whatever a check raises is a finding, so that the others are still made."""
    try:
        yield from findings
    except EvalxError as error:
        yield from _of(error)
    except Exception as error:  # noqa: BLE001 -- a plugin's hook may raise anything
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        yield Finding("error", f"{type(error).__name__}: {error}{notes}", "evalx doctor -v shows more")


def _preflight(run: RunContext) -> Iterator[Finding]:
    hooks = run.plugins.hooks(run)
    hooks.setup()
    found = hooks.preflight()
    yield from found or [ok(f"the {run.plan.executor} executor finds nothing wrong")]


def _state() -> Iterator[Finding]:
    from evalx.store import Store

    folder = state_directory()
    yield from _room("state directory", folder, "set EVALX_STATE_DIR to a folder that is writable, on a disk with room")
    if (folder / DATABASE).is_file():
        with Store() as store:
            store.runs(1)


def _output(output_dir: str) -> Iterator[Finding]:
    hint = "set execution.output_dir to a folder that is writable, on a disk with room"
    yield from _room("output directory", Path(output_dir).expanduser().absolute(), hint)


def _room(what: str, folder: Path, hint: str) -> Iterator[Finding]:
    """Whether a folder, or the one in which it would be made, is writable and has room."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        yield Finding("error", f"{what} {folder}: {there} is no folder", hint)
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Finding("error", f"{what} {folder}: {there} is not writable", hint)
    else:
        free = shutil.disk_usage(there).free
        told = f"{what} {folder}: {'writable' if there == folder else 'can be made'}, {_size(free)} free"
        level = "error" if free < TOO_LITTLE else "warning" if free < LITTLE else "ok"
        yield Finding(level, told, None if level == "ok" else hint)


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MB"


def _harnesses() -> Iterator[Finding]:
    for info in catalog.plugins("evalx.harnesses"):
        try:
            names: Any = getattr(catalog.load(info.group, info.name), "programs", ())
        except EvalxError:
            continue  # told of with the plugins
        found = next(filter(None, map(shutil.which, names)), None)
        if found:
            yield ok(f"{info.name}: {found}")
        elif names:
            hint = f"for tasks on this machine: execution.harnesses.{info.name}.venv=FOLDER of a virtual environment that has it"
            yield Finding("note", f"{info.name}: no {' or '.join(names)} on the PATH", hint)
