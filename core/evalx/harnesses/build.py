"""The one command builder: every executor runs exactly what `task_command` returns, so a task means the same everywhere.

    timeout -k 30 SECONDS <the harness's argv>                                       without pre_cmd and post_cmd
    timeout -k 30 SECONDS bash -c WRAPPER evalx PRE_CMD POST_CMD <the harness's argv>   with either

`timeout` stands outside because it makes itself the leader of a process group: what it is sent, and the end of the task's time, reaches
every process of the task at once, and what is still there 30 seconds later is killed. Its exit code is 124 if the time was up.

Everything is an argv element; the shell scripts here are constant. docs/adr/0004-one-command-builder.md gives the reasons.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from evalx.errors import ConfigError
from evalx.harnesses.api import Harness, HarnessCommand
from evalx.harnesses.target import make_target
from evalx.model import EndpointHandle, EnvValue, Secret, Site, TaskCommand, TaskSpec

KILL_AFTER = 30
"""Seconds between asking a task to end and killing it."""

MAX_ARGUMENT = 128 * 1024 - 1
"""Bytes of one argv element or `NAME=value`: the kernel takes 128 KiB with the final zero byte."""

MAX_TOTAL = 2**20

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")

TRUST_HINT = "read them, then pass --trust-commands or set EVALX_TRUST_PRE_CMD=1"

WRAPPER = r"""
evalx_pre=$1 evalx_post=$2
shift 2
evalx_stage=pre_cmd
evalx_pre_ended() {
  evalx_code=$?
  [ "$evalx_stage" = pre_cmd ] || return
  [ "$evalx_code" -ne 0 ] || evalx_code=1
  echo "evalx: pre_cmd failed with exit code $evalx_code; the harness was not started" >&2
  exit "$evalx_code"
}
evalx_run_pre() {
  set -e
  eval "$evalx_pre"
  set +e
}
trap evalx_pre_ended EXIT
trap 'exit 143' TERM INT HUP
[ -z "$evalx_pre" ] || evalx_run_pre
evalx_stage=harness
trap : TERM INT HUP
"$@"
evalx_code=$?
[ -n "$evalx_post" ] || exit "$evalx_code"
(set -e; eval "$evalx_post")
evalx_post_code=$?
[ "$evalx_post_code" -eq 0 ] || echo "evalx: post_cmd failed with exit code $evalx_post_code" >&2
[ "$evalx_code" -ne 0 ] || evalx_code=$evalx_post_code
exit "$evalx_code"
"""
"""Runs pre_cmd in its own shell, so that what it exports reaches the harness, which gets signals itself while this shell lives on."""


def task_command(harness: Harness, task: TaskSpec, endpoint: EndpointHandle, site: Site, *, trusted: bool) -> TaskCommand:
    """What to run for a task at a site.

    trusted: the run was started with --trust-commands. Raises ConfigError for commands that are not trusted, for names and sizes no
    process can be given, and whatever the harness raises for its settings.
    """
    options = task.options
    made = harness.command(task, make_target(task, endpoint), site)
    _check_trust(options, made, trusted)
    command = TaskCommand(
        argv=_wrap(made.argv, task),
        env=_environment(made, options.get("env") or {}, site),
        files=made.files,
        image=options.get("container"),
        dataset_dir=options.get("dataset_dir"),
    )
    _check(command)
    return command


def _wrap(argv: tuple[str, ...], task: TaskSpec) -> tuple[str, ...]:
    # Short options and whole seconds, which busybox's timeout knows as well.
    limit = ("timeout", "-k", str(KILL_AFTER), str(max(1, math.ceil(task.timeout))))
    pre, post = (task.options.get(key) or "" for key in ("pre_cmd", "post_cmd"))
    return (*limit, "bash", "-c", WRAPPER, "evalx", pre, post, *argv) if pre or post else (*limit, *argv)


def _check_trust(options: Mapping[str, Any], made: HarnessCommand, trusted: bool) -> None:
    if trusted or os.environ.get("EVALX_TRUST_PRE_CMD") == "1":
        return
    commands = [key for key in ("pre_cmd", "post_cmd") if options.get(key)]
    if commands:
        raise ConfigError(f"the config brings shell commands of its own: {', '.join(commands)}", TRUST_HINT)
    if made.shell_settings:
        raise ConfigError(
            f"the harness hands these settings to a shell, and they hold shell syntax: {', '.join(made.shell_settings)}", TRUST_HINT
        )


def _environment(made: HarnessCommand, given: Mapping[str, Any], site: Site) -> dict[str, EnvValue]:
    """Defaults of the harness, overridden by the evaluation's variables, overridden by the task's (the plan merged these two)."""
    from evalx.config.env import parse_env

    dataset = {"NEMO_EVALUATOR_DATASET_DIR": site.dataset_dir} if site.dataset_dir else {}
    return {**dataset, **made.env, **parse_env(given)}


def _check(command: TaskCommand) -> None:
    sizes = 0
    for what, text in _strings(command):
        size = _bytes(what, text)
        sizes += size
        if size > MAX_ARGUMENT:
            raise ConfigError(f"{what} has {size:,} bytes; a process can be given {MAX_ARGUMENT:,}", "put it into a file")
    if sizes > MAX_TOTAL:
        raise ConfigError(f"the command and its variables have {sizes:,} bytes; evalx allows {MAX_TOTAL:,}", "put large values into files")
    for name in command.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ConfigError(f"the harness wants a file outside the task's folder: {name}", "its author should run: evalx plugins check")


def _bytes(what: str, text: str) -> int:
    if "\0" in text:
        raise ConfigError(f"{what} holds a NUL character, which no process can be given", "remove it, or put the text into a file")
    try:
        return len(os.fsencode(text))
    except UnicodeEncodeError:
        raise ConfigError(
            f"{what} holds half a character (a lone surrogate), which no process can be given", "write the whole character"
        ) from None


def _strings(command: TaskCommand) -> Iterator[tuple[str, str]]:
    for position, item in enumerate(command.argv):
        yield f"argument {position} of the task's command", item
    for name, value in command.env.items():
        if not ENV_NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for an environment variable", "letters, digits, '_', '.' and '-', no digit first")
        yield f"environment variable {name}", f"{name}={'' if isinstance(value, Secret) else value}"
