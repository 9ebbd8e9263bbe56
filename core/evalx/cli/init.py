"""`evalx init`: a config of one's own to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from evalx.cli.options import common_options
from evalx.cli.output import create_file, emit, tell, write


@click.command("init")
@click.argument("name", default="evalx.yaml")
@click.option("--executor", default="local", show_default=True, metavar="NAME", help="Where to run: evalx plugins ls shows what there is.")
@click.option("--deployment", default="none", show_default=True, metavar="NAME", help="What to deploy; none: use an endpoint that exists.")
@click.option("-t", "--task", "tasks", multiple=True, default=["ifeval"], show_default=True, metavar="NAME", help="A task; repeatable.")
@common_options
def command(name: str, executor: str, deployment: str, tasks: tuple[str, ...], as_json: bool) -> None:
    """Write a config to begin with: example values where something must be set, all other keys as comments with their defaults.

    NAME is the file; one that is there already is left alone.

    \b
    Examples:
      evalx init
      evalx init my.yaml --executor lepton --deployment vllm -t gpqa_diamond
    """
    from evalx.config.starter import starter
    from evalx.tasks import resolve

    path = Path(name if name.endswith(".yaml") else f"{name}.yaml")
    for task in tasks:
        resolve(task)
    text = starter(str(path), executor, deployment, tasks)
    create_file(path, text, "give another name: evalx init NAME")
    if as_json:
        emit({"path": str(path.absolute()), "executor": executor, "deployment": deployment})
        return
    write([str(path)])
    tell(f"  change it:                   {path} says how")
    tell(f"  what is still missing:       evalx doctor {path}")
    tell(f"  see what would be created:   evalx plan {path}")
    tell(f"  run it:                      evalx run {path}")
