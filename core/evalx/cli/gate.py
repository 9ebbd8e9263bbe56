"""`evalx gate`: a run held against a policy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, tell, width, write
from evalx.cli.wording import columns, fit
from evalx.errors import ExitCode

if TYPE_CHECKING:
    from evalx.gate import Check, Policy
    from evalx.results.kept import KeptRun


@click.command("gate")
@click.argument("run", default="last")
@click.option("--policy", required=True, type=click.Path(path_type=Path), metavar="FILE", help="YAML file with the rules.")
@click.option("--baseline", metavar="RUN", help="Run to compare with, instead of the policy's.")
@common_options
def command(run: str, policy: Path, baseline: str | None, as_json: bool) -> int:
    """Hold a run's scores against a policy: minimal scores, required tasks, no regression against another run.

    RUN and the baseline are ids, unique beginnings of one, last, or paths to run directories. What is missing has failed. Exit code 0 if
    every rule is passed, 3 if one is not, 8 if a run is not over.
    """
    from evalx.gate import judge, read_policy

    rules = read_policy(policy, baseline)
    kept, reference = _over(run), _over(rules.baseline) if rules.baseline else None
    checks = judge(rules, kept, reference)
    passed = all(check.passed for check in checks)
    if as_json:
        emit(_data(rules, kept, reference, checks, passed))
    else:
        _print(rules, kept, reference, checks)
    return ExitCode.OK if passed else ExitCode.GATE_FAILED


def _over(text: str) -> KeptRun:
    """The run. Raises RunNotOver for one that may still change."""
    from evalx.errors import RunNotOver
    from evalx.results.kept import kept_run

    run = kept_run(text)
    if not run.closed:
        raise RunNotOver(f"run {run.run_id} is not over, so its scores are not all there", f"evalx status {run.run_id} says how it stands")
    return run


def _data(policy: Policy, run: KeptRun, baseline: KeptRun | None, checks: list[Check], passed: bool) -> dict[str, Any]:
    from evalx.serial import to_json

    return {
        "run_id": run.run_id,
        "baseline": baseline.run_id if baseline else None,
        "policy": str(policy.path),
        "passed": passed,
        "checks": [to_json(check) for check in checks],
    }


def _print(policy: Policy, run: KeptRun, baseline: KeptRun | None, checks: list[Check]) -> None:
    from evalx.display.text import line, plural, table

    rows = [("passed" if check.passed else "FAILED", check.task, check.metric, check.condition, check.found) for check in checks]
    write(table(("", "task", "metric", "rule", "found"), rows, width=width(), flexible="metric"))
    failed = [check for check in checks if not check.passed]
    against = f" against {baseline.run_id}" if baseline else ""
    tell()
    for check in failed:
        place = f"{line(policy.path)}:{check.line}"
        why = f": {line(check.why)}" if check.why else f", found {check.found}"
        told = f"{place}: {line(f'{check.task} {check.metric}').strip()}: {check.condition}{why}"
        for text in fit(told, columns(sys.stderr)):
            tell(text)
    count = plural(len(checks), "check")
    tell(f"run {run.run_id}{against}: gate {f'failed, {len(failed)} of {count}' if failed else f'passed, {count}'}")
