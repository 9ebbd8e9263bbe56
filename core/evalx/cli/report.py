"""`evalx report`: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, tell

if TYPE_CHECKING:
    from evalx.report import RunData

USUAL = "report.html"


@click.command("report")
@click.argument("run", default="last")
@click.option("-o", "--output", metavar="PATH", help="File or folder to write to; - is stdout. Usually report.html in the run directory.")
@common_options
def command(run: str, output: str | None, as_json: bool) -> None:
    """Write a run as one HTML page: scores with intervals, timeline, failures, manifest.

    RUN is an id, a unique beginning of one, last, or the path of a run directory, which may be a copy from elsewhere. The page needs
    nothing but itself: no network, no script. A run that is going on is shown as it stands.
    """
    from evalx.display.text import clean
    from evalx.report import render, write_report

    if as_json and output == "-":
        raise click.UsageError("--json and --output - do not go together: both want stdout.")
    data = _data(run)
    page = render(data)
    if output == "-":
        click.echo(page, nl=False)
        return
    path = _destination(data, output)
    write_report(path, page)
    if as_json:
        emit({"run_id": data.plan.run_id, "condition": data.condition, "report": str(path.absolute()), "bytes": path.stat().st_size})
    else:
        click.echo(clean(path))
        if not data.over:
            tell(f"run {data.plan.run_id} is {data.condition}: this is how it stands now")


def _destination(data: RunData, output: str | None) -> Path:
    """The file to write. In a folder that the user names, the page is named after its run."""
    from evalx.errors import StoreError

    if output is None:
        if not data.directory.is_dir():
            message = f"the directory of run {data.plan.run_id} is gone: {data.directory}"
            raise StoreError(message, f"write the page elsewhere: evalx report {data.plan.run_id} --output FILE")
        return data.directory / USUAL
    path = Path(output).expanduser()
    return path / f"report-{data.plan.run_id}.html" if path.is_dir() or output.endswith("/") else path


def _data(text: str) -> RunData:
    """The run of that id, or in that directory. One that this machine's store knows is told by the store, which knows more."""
    from evalx.errors import RunNotFound
    from evalx.report import read_directory, read_stored
    from evalx.store import Store

    path = Path(text).expanduser()
    if "/" in text or (path / "plan.json").is_file():
        data = read_directory(path.absolute())
        with Store() as store:
            try:
                record = store.find(data.plan.run_id)
            except RunNotFound:
                return data
            return read_stored(store, record) if record.directory.resolve() == path.resolve() else data
    with Store() as store:
        return read_stored(store, store.find(text))
