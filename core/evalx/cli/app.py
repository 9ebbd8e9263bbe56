"""The `evalx` command: its subcommands by name, imported only when called, and the one place where a process ends."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalx import __version__, failpoints
from evalx.cli import streams
from evalx.cli.errors import report
from evalx.cli.options import Asked, verbosity_options
from evalx.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

LEAVING = 5.0
"""Seconds in which the threads of hooks may end when all is said."""

SECTIONS = {
    "Evaluate": {
        "run": "Deploy, evaluate, collect the scores, clean up.",
        "plan": "Show everything a run would create, and create nothing.",
        "resume": "Go on with a run that was interrupted; finished tasks are kept.",
        "cancel": "End a run early and clean up after it.",
        "cleanup": "Delete what a run may have left alive.",
    },
    "Look": {
        "ls": "List runs, the newest first.",
        "status": "Where a run stands: tasks, endpoints, what may be alive.",
        "watch": "Follow a run that another process is working on.",
        "logs": "Show the log of a task, of its endpoint, or of evalx itself.",
        "results": "Show the scores of a run.",
        "compare": "Compare the scores of two runs: better, worse, or chance?",
        "gate": "Hold a run's scores against a policy.",
        "report": "Write a run as one HTML page: scores, timeline, failures.",
        "export": "Carry the results of a run to a file or a service.",
    },
    "Find and set up": {
        "doctor": "What is wrong with this machine and workspace.",
        "tasks": "The catalogue of evaluation tasks.",
        "plugins": "Executors, deployments, harnesses and exporters.",
        "config": "A composed config; the schema for editors; import of others.",
        "init": "Write a config of your own to begin with.",
        "completion": "Completion of commands and names for your shell.",
    },
}
COMMANDS = {name: line for section in SECTIONS.values() for name, line in section.items()}

MEANINGS = {
    ExitCode.OK: "all tasks scored, nothing left alive",
    ExitCode.TASK_FAILED: "a task has no valid score",
    ExitCode.USAGE: "wrong usage or config; nothing was created",
    ExitCode.GATE_FAILED: "a gate failed",
    ExitCode.AUTH: "authentication or permission",
    ExitCode.NO_ENDPOINT: "no usable endpoint",
    ExitCode.DEADLINE: "a deadline or budget was reached",
    ExitCode.DIRTY: "something may still be alive (wins over all others)",
    ExitCode.RUNNING: "still running (status --exit-status, gate)",
    ExitCode.INTERNAL: "internal error",
    ExitCode.BUSY: "another process owns the run",
    ExitCode.SIGHUP: "ended by SIGHUP, clean",
    ExitCode.SIGINT: "ended by Ctrl-C, clean",
    ExitCode.SIGTERM: "ended by SIGTERM, clean",
}


def plugin_commands() -> dict[str, str]:
    """Commands that installed distributions add, and a help line for each; none is imported."""
    from importlib.metadata import entry_points

    from evalx.cli.described import help_line

    found = {entry.name: entry for entry in entry_points(group="evalx.commands") if entry.name not in COMMANDS}
    return {name: help_line(entry) for name, entry in sorted(found.items())}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [*COMMANDS, *plugin_commands()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return self._plugin_command(cmd_name)
        command: click.Command = importlib.import_module(f"evalx.cli.{cmd_name}").command
        if "_EVALX_COMPLETE" in os.environ:
            from evalx.cli.completing import teach

            teach(command, cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands with their help lines, without importing them."""
        from click.shell_completion import CompletionItem

        found = {**COMMANDS, **plugin_commands()}
        items = [CompletionItem(name, help=line) for name, line in found.items() if name.startswith(incomplete)]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def _plugin_command(self, name: str) -> click.Command | None:
        if name not in plugin_commands():
            return None
        from evalx.catalog import load

        command: click.Command = load("evalx.commands", name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-") and args[0] not in (added := plugin_commands()):
            close = difflib.get_close_matches(args[0], [*COMMANDS, *added], n=1)
            guess = f" Did you mean '{close[0]}'?" if close else " evalx --help lists them."
            raise click.UsageError(f"No such command '{args[0]}'.{guess}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        added = plugin_commands()
        width = max(map(len, [*COMMANDS, *added]))
        for title, commands in {**SECTIONS, **({"Plugins": added} if added else {})}.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), line) for name, line in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Exit codes"):
            formatter.write_dl([(f"{int(code):>3}", meaning) for code, meaning in MEANINGS.items()])


MINDS_ITSELF = {"cancel", "cleanup", "resume", "completion"}
"""Commands that see to a run themselves, or have to be quick: others first give kept endpoints that lost their keeper a new one."""


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", message="evalx %(version)s")
@verbosity_options
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Evaluate language models: deploy the endpoint, run the harness, bring the scores home, leave nothing running.

    Start with:  evalx run quickstart
    """
    if ctx.invoked_subcommand in COMMANDS.keys() - MINDS_ITSELF and not {"-h", "--help"} & set(ctx.ensure_object(Asked).args):
        from evalx.cli.output import tell
        from evalx.keeping.keeper import replace_missing

        replace_missing(tell)


def main(argv: Sequence[str] | None = None, *, early: bool = False) -> None:
    """Run the command line and end the process with its exit code. argv: without the program's name; None takes the process's own.

    early: Ctrl-C was made to end the process at once, and is to be answered from here on.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    asked = Asked(json="--json" in args, args=tuple(args))
    streams.open_missing() if argv is not None else streams.prepare()
    stdout = sys.stdout
    try:
        if early:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        failpoints.arm(os.environ.get("EVALX_FAILPOINT", ""))
        _check_folder()
        code = cli.main(args=args, prog_name="evalx", obj=asked, standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 -- whatever it is, the user gets a sentence and an exit code
        # click ends the process itself when a reader has left, and puts another stdout in place of the broken one.
        left = isinstance(error, SystemExit) and sys.stdout is not stdout
        code = report(BrokenPipeError() if left else error, asked)
    if argv is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is said: what is torn down now must not speak of it
    if asked.at_once:
        _leave(int(code or 0))
    if argv is None and any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        threading.Thread(target=_leave, args=(int(code or 0), LEAVING), daemon=True).start()
    sys.exit(int(code or 0))


def _leave(code: int, after: float = 0.0) -> None:
    """End the process without waiting for threads: for one in which a hook has not returned, Python would wait for ever."""
    time.sleep(after)
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _check_folder() -> None:
    """Raises ConfigError if the current folder was deleted, over which anything may stumble later."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ConfigError("the current folder does not exist any more", "cd to another one") from None
