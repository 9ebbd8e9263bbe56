"""`evalx tasks`: the catalogue of evaluation tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, tell, width, write

if TYPE_CHECKING:
    from evalx.tasks import CatalogueTask


@click.group("tasks")
def command() -> None:
    """The catalogue of evaluation tasks: what can be named in `evaluation.tasks`."""


@command.command("ls")
@click.argument("query", required=False)
@click.option("--suite", metavar="NAME", help="Only tasks of this suite.")
@common_options
def ls(query: str | None, suite: str | None, as_json: bool) -> None:
    """List tasks. QUERY: only those with this text in suite.task."""
    from evalx.display.text import plural, table
    from evalx.tasks import all_tasks

    known = list(all_tasks())
    _check_suite(suite, known)
    found = [task for task in known if suite in (None, task.suite) and (query or "").lower() in f"{task.suite}.{task.name}".lower()]
    if as_json:
        emit({"tasks": [_as_json(task) for task in found]})
        return
    write(table(("task", "suite", "endpoints"), [(task.name, task.suite, ", ".join(task.endpoints)) for task in found], width=width()))
    tell(f"\n{plural(len(found), 'task')} of {len(known)}; evalx tasks show SUITE.TASK says more")


@command.command("show")
@click.argument("name")
@common_options
def show(name: str, as_json: bool) -> None:
    """Show one task: image, endpoint types, default parameters. NAME: task or suite.task."""
    from evalx.tasks import resolve

    task = resolve(name)
    if as_json:
        emit(_as_json(task))
    else:
        write(_screen(task))


def _check_suite(suite: str | None, known: list[CatalogueTask]) -> None:
    from difflib import get_close_matches

    from evalx.errors import ConfigError

    suites = sorted({task.suite for task in known})
    if suite is not None and suite not in suites:
        close = get_close_matches(suite, suites, n=1)
        raise ConfigError(
            f"no suite '{suite}' in the catalogue", f"did you mean '{close[0]}'?" if close else f"suites: {', '.join(suites)}"
        )


def _screen(task: CatalogueTask) -> list[str]:
    import yaml

    params = yaml.safe_dump(dict(task.params), sort_keys=True, default_flow_style=False).rstrip() if task.params else "none"
    return [
        f"task       {task.suite}.{task.name}",
        f"image      {task.image}",
        f"digest     {task.digest}",
        f"endpoints  {', '.join(task.endpoints)}",
        *([f"requires   {', '.join(task.requires)}"] if task.requires else []),
        *([f"chosen     {task.note}"] if task.note else []),
        "params",
        *(f"  {text}" for text in params.splitlines()),
    ]


def _as_json(task: CatalogueTask) -> dict[str, Any]:
    return {
        "name": task.name,
        "suite": task.suite,
        "image": task.image,
        "digest": task.digest,
        "endpoints": list(task.endpoints),
        "requires": list(task.requires),
        "arch": task.arch,
        "url": task.url,
        "note": task.note,
        "params": dict(task.params),
    }
