"""`evalx plugins new`: a package to begin a plugin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, tell, write

if TYPE_CHECKING:
    from evalx.scaffold import Scaffold

KINDS = ("executor", "local-deployment", "lepton-deployment", "harness", "exporter")


@click.command("new", short_help="Write a package with a plugin, to begin your own with.")
@click.argument("kind", type=click.Choice(KINDS), metavar="KIND")
@click.argument("name", metavar="NAME")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write to; by default ./evalx-NAME.")
@common_options
def command(kind: str, name: str, output: Path | None, as_json: bool) -> None:
    """Write a package with a small plugin that works, and with tests that pass. Nothing is overwritten.

    KIND is executor, local-deployment or lepton-deployment (a deployment variant of that executor), harness or exporter. NAME is what
    configs will call the plugin; its package is evalx-NAME.
    """
    from evalx import scaffold

    made = scaffold.plan_scaffold(kind, name, output)
    scaffold.write(made)
    steps = _steps(made)
    if as_json:
        emit({"kind": kind, "name": name, "folder": str(made.folder), "files": list(made.files), "next": steps})
        return
    write([f"{made.folder}/", *(f"  {path}" for path in made.files)])
    tell(f"\nA package with a working {kind.replace('-', ' ')} '{name}'. Next:")
    for step in steps:
        tell(f"  {step}")
    tell(f"Then make it yours: {made.source}. README.md says how.")


def _steps(made: Scaffold) -> list[str]:
    import shlex

    folder = shlex.quote(str(made.folder))
    return [f"cd {folder}", "pip install -e '.[dev]'", f"evalx plugins check {made.name}", "pytest"]
