"""Options that commands share, and what they turn into."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from evalx.config import Config

F = TypeVar("F", bound=Callable[..., Any])

_OVERRIDE = re.compile(r"^(~|\+{0,2}[\w./@:$-]+=)")
_DURATION = re.compile(r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?$")


@dataclass
class Asked:
    """What the user asked of the whole command: verbosity (-v and -q, summed), and whether stdout must be JSON. args: what was typed.
    at_once: end the process without waiting for threads, which the user has stopped waiting for."""

    json: bool = False
    verbosity: int = 0
    at_once: bool = False
    args: tuple[str, ...] = ()


def asked() -> Asked:
    """What was asked of the command that is being run."""
    return click.get_current_context().ensure_object(Asked)


def verbosity_options(function: F) -> F:
    """-v and -q, which may stand before or after the name of a command."""

    def louder(ctx: click.Context, _param: click.Parameter, value: int) -> None:
        ctx.ensure_object(Asked).verbosity += value

    def quieter(ctx: click.Context, _param: click.Parameter, value: int) -> None:
        ctx.ensure_object(Asked).verbosity -= value

    function = click.option("-q", "--quiet", count=True, expose_value=False, callback=quieter, help="Only results and errors.")(function)
    return click.option("-v", "--verbose", count=True, expose_value=False, callback=louder, help="More messages; tracebacks of errors.")(
        function
    )


def common_options(function: F) -> F:
    """What every command has: --json, -v, -q."""

    def note(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
        ctx.ensure_object(Asked).json = value
        return value

    json_option = click.option("--json", "as_json", is_flag=True, callback=note, help="Only JSON on stdout.")
    return json_option(verbosity_options(function))


def seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Callback of options that take a length of time such as `90m`, `1h30m`, `45s` or plain seconds."""
    if value is None:
        return None
    found = _DURATION.match(value.strip())
    if not found or not any(found.groups()):
        raise click.BadParameter(f"'{value}' is not a duration; write 45s, 90m or 1h30m")
    days, hours, minutes, rest = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Callback of options that take a time: so long ago (`10m`), or a date with or without time and zone; as seconds since the epoch."""
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return time.time() - (seconds(ctx, param, value) or 0.0)
    except click.BadParameter:
        message = f"'{value}' is neither a length of time nor a time; write 10m, 1h30m, 2026-05-01 or 2026-05-01T13:45"
        raise click.BadParameter(message) from None


@dataclass
class ConfigChoice:
    """Which config the user named, and how it is changed on the command line."""

    config: str | None = None
    overrides: list[str] = field(default_factory=list)
    config_dir: str | None = None
    config_name: str | None = None
    executor: str | None = None
    tasks: tuple[str, ...] = ()

    def load(self, extra: Sequence[str] = ()) -> Config:
        """The composed config. extra: further overrides. Raises ConfigErrors."""
        from evalx.cli import messages
        from evalx.config import load

        messages.configure(asked().verbosity)
        return load(
            self.config,
            overrides=[*self.overrides, *extra],
            config_dir=self.config_dir,
            config_name=self.config_name,
            executor=self.executor,
            tasks=self.tasks,
        )


def config_options(function: F) -> F:
    """CONFIG, overrides and the options that choose a config; the command receives them as keyword `choice: ConfigChoice`."""
    return _config_options(function, _choice)


def optional_config_options(function: F) -> F:
    """The same for a command that has something to do without a config as well."""
    return _config_options(function, _optional_choice)


def _config_options(function: F, choose: Callable[..., ConfigChoice]) -> F:
    decorators = (
        click.argument("args", nargs=-1, metavar="[CONFIG] [KEY=VALUE]..."),
        click.option("--executor", metavar="NAME", help="Where to run: the name of an executor plugin, such as local."),
        click.option("--config-dir", type=click.Path(file_okay=False), metavar="DIR", help="Folder with configs of your own."),
        click.option("--config-name", metavar="NAME", help="Name of the config in --config-dir."),
        click.option("-t", "--task", "tasks", multiple=True, metavar="NAME", help="Only this task of the config; repeatable."),
    )

    def gathered(**given: Any) -> Any:
        choice = choose(given.pop("args"), *(given.pop(name) for name in ("executor", "config_dir", "config_name", "tasks")))
        return function(choice=choice, **given)

    gathered.__doc__, gathered.__name__ = function.__doc__, function.__name__
    gathered.__dict__.update(function.__dict__)
    wrapped: Any = gathered
    for decorate in reversed(decorators):
        wrapped = decorate(wrapped)
    return wrapped  # type: ignore[no-any-return]


def _choice(
    args: Sequence[str], executor: str | None, config_dir: str | None, config_name: str | None, tasks: tuple[str, ...]
) -> ConfigChoice:
    choice = _any_choice(args, executor, config_dir, config_name, tasks)
    if choice.config is None and choice.config_name is None:
        raise click.UsageError("Which config? Name a file or a shipped config. To try evalx: evalx run quickstart. Your own: evalx init")
    return choice


def _optional_choice(
    args: Sequence[str], executor: str | None, config_dir: str | None, config_name: str | None, tasks: tuple[str, ...]
) -> ConfigChoice:
    choice = _any_choice(args, executor, config_dir, config_name, tasks)
    if choice.config is None and choice.config_name is None:
        if choice.tasks or choice.config_dir:
            raise click.UsageError(f"{'--task' if choice.tasks else '--config-dir'} goes with a config.")
        if choice.overrides and not choice.executor:
            raise click.UsageError(f"'{choice.overrides[0]}': settings are changed with a config, or with --executor NAME.")
    return choice


def _any_choice(
    args: Sequence[str], executor: str | None, config_dir: str | None, config_name: str | None, tasks: tuple[str, ...]
) -> ConfigChoice:
    named = bool(args) and (not _OVERRIDE.match(args[0]) or Path(args[0]).is_file())
    config = args[0] if named else None
    if config is not None and config_name is not None:
        raise click.UsageError(f"Two configs are named: '{config}' and --config-name '{config_name}'.")
    overrides = list(args[1:] if named else args)
    for text in overrides:
        if not _OVERRIDE.match(text):
            raise click.UsageError(f"'{text}' is not an override; write key=value. Only one config can be run at a time.")
    return ConfigChoice(config, overrides, config_dir, config_name, executor, tasks)
