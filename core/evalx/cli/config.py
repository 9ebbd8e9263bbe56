"""`evalx config`: a composed config and where each of its values comes from; what a config may hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from evalx.cli.importing import command as import_command
from evalx.cli.options import ConfigChoice, common_options, config_options
from evalx.cli.output import emit, width, write

if TYPE_CHECKING:
    import yaml

    from evalx.config import Config

WIDEST = 72


@click.group("config")
def command() -> None:
    """Configs: what one is composed of, which keys there are, and import from nemo-evaluator-launcher."""


command.add_command(import_command)


@command.command("show", short_help="A composed config, and where each value comes from.")
@config_options
@common_options
def show(choice: ConfigChoice, as_json: bool) -> None:
    """Show the composed config as YAML; a comment on each line says where the value comes from."""
    import yaml

    config = choice.load()
    origins = dict(_origins(config))
    if as_json:
        emit({"config": yaml.safe_load(config.text), "origins": {path: origin for _, (path, origin) in origins.items()}})
    else:
        write(_annotated(config.text, {number: origin for number, (_, origin) in origins.items()}))


@command.command("schema", short_help="The JSON Schema of configs, for editors.")
@click.option("--executor", metavar="NAME", help="Only for configs of this executor.")
@click.option("--deployment", metavar="NAME", help="Only for configs with this deployment variant.")
@common_options
def schema(executor: str | None, deployment: str | None, as_json: bool) -> None:  # noqa: ARG001 -- it is JSON either way
    """Print the JSON Schema of config files, for editors that complete and check YAML.

    \b
    Use it, for example, with yaml-language-server (VS Code, Neovim, ...):
      evalx config schema > .evalx-schema.json
    and as the first line of a config:
      # yaml-language-server: $schema=.evalx-schema.json
    """
    import json

    from evalx.config.json_schema import config_schema

    click.echo(json.dumps(config_schema(executor, deployment), indent=2))


def _origins(config: Config) -> Iterator[tuple[int, tuple[str, str]]]:
    """Line number of the composed text → key path and origin of the value that stands there."""
    import yaml

    root = yaml.compose(config.text, Loader=yaml.SafeLoader)
    for number, path in _leaves(root, ""):
        origin = config.origin(path)
        if origin:
            yield number, (path, origin)


def _leaves(node: yaml.Node | None, path: str) -> Iterator[tuple[int, str]]:
    """Every value that is no mapping or list with content, with the line on which its key stands."""
    import yaml

    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            inner = f"{path}.{key.value}" if path else str(key.value)
            yield from [(key.start_mark.line, inner)] if _is_leaf(value) else _leaves(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = f"{path}[{index}]"
            yield from [(value.start_mark.line, inner)] if _is_leaf(value) else _leaves(value, inner)


def _is_leaf(node: Any) -> bool:
    import yaml

    return isinstance(node, yaml.ScalarNode) or not node.value


def _annotated(text: str, origins: dict[int, str]) -> list[str]:
    from evalx.display.text import cells, clean

    lines = clean(text).splitlines()
    column = min(max((cells(lines[number]) for number in origins), default=0), (width() or 2 * WIDEST) // 2, WIDEST)
    return [
        f"{line}{' ' * max(2, column + 2 - cells(line))}# {origins[number]}" if number in origins else line
        for number, line in enumerate(lines)
    ]
