"""`evalx doctor`: what is wrong with this machine, its plugins, and the workspace that a config wants, and what mends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from evalx.cli.options import ConfigChoice, asked, common_options, optional_config_options
from evalx.cli.output import emit, tell, write

if TYPE_CHECKING:
    from evalx.doctor import Checked
    from evalx.model import Finding

MARKS = {"ok": ("✓", "green"), "note": ("-", None), "warning": ("!", "yellow"), "error": ("✗", "red")}


@click.command("doctor")
@optional_config_options
@common_options
def command(choice: ConfigChoice, as_json: bool) -> int:
    """Tell what is wrong with this machine and workspace, and the command that mends it. Creates nothing.

    With CONFIG all that its executor can check is checked for it: credentials, workspace, node groups, shapes, secrets, programs,
    images. Without it, what can be told in general; an executor that cannot be used is then only a warning, unless --executor names it.

    Exit code 0: nothing is wrong; 2: something is; 4: credentials are refused; 7: a run may have left something alive.
    """
    from evalx.cli import messages
    from evalx.doctor import verdict

    messages.configure(asked().verbosity)
    with redirect_stdout(sys.stderr):  # a plugin that prints when it is imported
        checked = list(_checks(choice))
    code = verdict(checked)
    if as_json:
        emit({"exit_code": int(code), "checks": [_as_json(part, finding) for part in checked for finding in part.findings]})
    else:
        write(_screen(checked))
        tell(f"\n{_count(checked)}")
    return int(code)


def _checks(choice: ConfigChoice) -> Iterator[Checked]:
    from evalx import catalog, doctor
    from evalx.errors import EvalxError

    named = choice.config or choice.config_name
    yield doctor.machine()
    yield doctor.plugins()
    if named:
        try:
            config = choice.load()
        except EvalxError as error:
            yield doctor.refused(named, error)
        else:
            yield doctor.configured(config)
    else:
        yield doctor.harnesses()
        if choice.executor:
            yield doctor.executor(choice.executor, choice.overrides, needed=True)
        else:
            yield from (doctor.executor(info.name, needed=False) for info in catalog.plugins("evalx.executors"))
    left = doctor.runs()
    if left is not None:
        yield left


def _screen(checked: Sequence[Checked]) -> Iterator[str]:
    from evalx.cli.wording import message, paragraph, safe

    for part in checked:
        yield safe(part.title)
        for finding in part.findings:
            for number, text in enumerate(paragraph(finding.message, sys.stdout, "    ")):
                yield f"  {_mark(finding)} {text.strip()}" if number == 0 else text
            if finding.hint:
                yield from message("hint", finding.hint, sys.stdout, "    ")


def _mark(finding: Finding) -> str:
    mark, colour = MARKS.get(finding.level, MARKS["warning"])
    return click.style(mark, fg=colour) if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else mark


def _count(checked: Sequence[Checked]) -> str:
    from evalx.display.text import plural

    levels = [finding.level for part in checked for finding in part.findings]
    errors, warnings = levels.count("error"), levels.count("warning")
    told = plural(errors, "thing") + (" is" if errors == 1 else " are") + " wrong" if errors else "nothing is wrong"
    return told + (f", {plural(warnings, 'warning')}" if warnings else "")


def _as_json(part: Checked, finding: Finding) -> dict[str, Any]:
    from evalx.redaction import redact

    told = {"message": redact(finding.message), "hint": finding.hint and redact(finding.hint)}
    return {"part": part.title, "level": finding.level, "kind": finding.kind, **told}
