"""`evalx export`: the results of a run, carried elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evalx.exporters.account import RunAccount
    from evalx.exporters.running import Exported


@click.command("export")
@click.argument("run", default="last")
@click.argument("options", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--to", "exporter", metavar="NAME", help="The exporter: json, csv, markdown, junit, mlflow, …; evalx plugins ls lists them.")
@click.option("-o", "--output", metavar="PATH", help="File or folder to write to; without it, text goes to stdout.")
@common_options
def command(run: str, options: tuple[str, ...], exporter: str | None, output: str | None, as_json: bool) -> int:
    """Export the results of a run. RUN is an id, a unique beginning of one, or last. KEY=VALUE sets an option of the exporter.

    Without --to, what the run's config asks for under `export` is done again. The run itself is never changed.

    \b
    Examples:
      evalx export last --to junit --output results.xml
      evalx export last --to mlflow tracking_uri=http://127.0.0.1:5000
    """
    from evalx.exporters.running import export

    if "=" in run:
        run, options = "last", (run, *options)
    account = _account(run)
    if exporter is None:
        return _again(account, output, options, as_json)
    from evalx.exporters.loading import load_exporter

    if as_json and output is None and load_exporter(exporter).file_name is not None:
        raise click.UsageError("--json and the export both want stdout; give the export a file by --output.")
    done = export(exporter, account, output, _parsed(options))
    if as_json:
        emit({"run_id": account.run_id, "exports": [_told(done)]})
    elif done.where is not None:
        tell(f"exported run {account.run_id}: {done.where}")
    return 0


def _account(run: str) -> RunAccount:
    from evalx.cli.stored import condition
    from evalx.exporters.account import account_of
    from evalx.store import Store

    with Store() as store:
        record = store.find(run)
        results = [task.result for task in store.tasks(record.run_id) if task.result is not None]
        return account_of(record.plan, record.directory, results, condition(store, record))


def _again(account: RunAccount, output: str | None, options: Sequence[str], as_json: bool) -> int:
    """What the config asks for, once more. 70 if an export fails."""
    from evalx.cli.summary import exports_told
    from evalx.errors import ExitCode
    from evalx.exporters.running import export_planned

    if output is not None or options:
        raise click.UsageError("Which exporter? Name it by --to; evalx plugins ls --group evalx.exporters lists them.")
    if not account.plan.exports:
        raise click.UsageError(
            f"The config of run {account.run_id} asks for no export; name one by --to: evalx plugins ls --group evalx.exporters"
        )
    done = [export_planned(spec, account) for spec in account.plan.exports]
    if as_json:
        emit({"run_id": account.run_id, "exports": [_told(one) for one in done]})
    else:
        exports_told(done)
    return int(ExitCode.INTERNAL if any(one.error for one in done) else ExitCode.OK)


def _told(done: Exported) -> dict[str, str | None]:
    return {"exporter": done.exporter, "where": done.where, "error": done.error, "hint": done.hint}


def _parsed(options: Sequence[str]) -> dict[str, Any]:
    """Options as a tree. Raises UsageError."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    for text in options:
        if "=" not in text:
            raise click.UsageError(f"'{text}' is not an option of an exporter; write key=value.")
    try:
        tree = OmegaConf.to_container(OmegaConf.from_dotlist(list(options)))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise click.UsageError(f"The exporter's options cannot be read: {str(error).splitlines()[0]}") from None
    return {str(key): value for key, value in tree.items()} if isinstance(tree, dict) else {}
