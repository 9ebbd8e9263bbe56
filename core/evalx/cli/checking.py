"""`evalx plugins check`: what is wrong with a plugin, told to its author."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, tell, write
from evalx.cli.wording import message
from evalx.errors import ExitCode

if TYPE_CHECKING:
    from evalx.checkup import Candidate, Problem, Report


@click.command("check", short_help="Tell what is wrong with a plugin.")
@click.argument("target", required=False, metavar="[NAME|PATH]")
@common_options
def command(target: str | None, as_json: bool) -> int:
    """Tell what is wrong with a plugin: its entry point, class, hooks and options. Imports it.

    NAME is a plugin or a distribution that is installed, PATH the folder of a package that need not be; without either, all that is
    installed is checked. Exit code 0: nothing is wrong, 2: something is.
    """
    from evalx.checkup import check

    with redirect_stdout(sys.stderr):  # a plugin that prints when it is imported
        report = check(target)
    if as_json:
        emit(_as_json(report))
    else:
        write(_screen(report))
        verdict = _count(report.problems, "problem") if report.problems else "nothing is wrong"
        tell(f"\n{_count(len(report.found), 'plugin')} checked, {verdict}")
    return int(ExitCode.USAGE if report.problems else ExitCode.OK)


def _screen(report: Report) -> Iterator[str]:
    for problem in report.general:
        yield from _told(problem)
    for candidate, problems in report.found:
        yield f"{'wrong' if problems else 'ok':<6}{candidate.name}  {candidate.group}  {candidate.source}"
        for problem in problems:
            yield from _told(problem)


def _told(problem: Problem) -> Iterator[str]:
    yield from message("error", f"{problem.where}: {problem.message}", sys.stdout)
    yield from message("hint", problem.hint, sys.stdout)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "plugins": [_facts(candidate) | {"problems": len(problems)} for candidate, problems in report.found],
        "problems": [
            *({"plugin": None, "group": None, **_parts(problem)} for problem in report.general),
            *(
                {"plugin": candidate.name, "group": candidate.group, **_parts(problem)}
                for candidate, problems in report.found
                for problem in problems
            ),
        ],
    }


def _facts(candidate: Candidate) -> dict[str, Any]:
    return {"name": candidate.name, "group": candidate.group, "value": candidate.entry.value, "from": candidate.source}


def _parts(problem: Problem) -> dict[str, str]:
    from evalx.redaction import redact

    return {"where": problem.where, "message": redact(problem.message), "hint": redact(problem.hint)}
