"""`evalx plugins`: what is installed, told from metadata; only `show` imports the one plugin it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from evalx.cli.checking import command as check
from evalx.cli.options import common_options
from evalx.cli.output import emit, width, write
from evalx.cli.scaffolding import command as new

if TYPE_CHECKING:
    from evalx.catalog import PluginInfo


@click.group("plugins", invoke_without_command=True)
@common_options
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Executors, deployment variants, harness adapters, exporters: what is installed and from where, and how to write one.

    Without a subcommand: ls.
    """
    if ctx.invoked_subcommand is None:
        _list(None, as_json)


@command.command("ls", short_help="List plugins without importing any.")
@click.option("--group", metavar="GROUP", help="Only this entry-point group, such as evalx.executors.")
@common_options
def ls(group: str | None, as_json: bool) -> None:
    """List plugins without importing any."""
    _list(group, as_json)


def _list(group: str | None, as_json: bool) -> None:
    from evalx.catalog import plugins
    from evalx.display.text import table

    found = plugins(group)
    if as_json:
        emit({"plugins": [_facts(info) for info in found]})
    else:
        rows = [(info.name, info.group, f"{info.distribution} {info.version}") for info in found]
        write(table(("plugin", "group", "from"), rows, width=width()))


command.add_command(new)
command.add_command(check)


@command.command("show", short_help="Show one plugin: origin, capabilities, settings.")
@click.argument("name")
@click.option("--group", metavar="GROUP", help="The group, where a name is in several.")
@common_options
def show(name: str, group: str | None, as_json: bool) -> None:
    """Show one plugin: where it comes from, what it can do, which settings it takes. Imports it."""
    from evalx.catalog import load

    info = _find(name, group)
    plugin = load(info.group, info.name)
    facts = {**_facts(info), "summary": _summary(plugin), "capabilities": _capabilities(plugin), "settings": _settings(plugin)}
    if as_json:
        emit(facts)
    else:
        write(_screen(facts))


def _find(name: str, group: str | None) -> PluginInfo:
    from difflib import get_close_matches

    from evalx.catalog import plugins
    from evalx.errors import PluginError

    known = plugins(group)
    found = [info for info in known if info.name == name]
    # A command is often called like the executor that it belongs to, and tells of itself by --help.
    found = [info for info in found if info.group != "evalx.commands"] or found
    groups = sorted({info.group for info in found})
    if len(groups) > 1:
        raise PluginError(
            f"plugins of several groups are called '{name}': {', '.join(groups)}", f"evalx plugins show {name} --group {groups[0]}"
        )
    if not found:
        close = get_close_matches(name, [info.name for info in known], n=1)
        raise PluginError(f"no plugin '{name}' is installed", f"did you mean '{close[0]}'?" if close else "evalx plugins ls")
    return found[0]


def _facts(info: PluginInfo) -> dict[str, Any]:
    return {"name": info.name, "group": info.group, "value": info.value, "distribution": info.distribution, "version": info.version}


def _summary(plugin: Any) -> str | None:
    return (plugin.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ") or None


def _capabilities(plugin: Any) -> list[str]:
    """The optional hooks that the class implements; implementing one is declaring it."""
    from evalx.hookspecs import OptionalHooks

    return [name for name in vars(OptionalHooks) if not name.startswith("_") and hasattr(getattr(plugin, name, None), "evalx_impl")]


def _settings(plugin: Any) -> list[dict[str, Any]]:
    """The keys it understands, from its attrs class `Settings` (executors) or `Options` (deployment variants)."""
    import attrs

    cls = getattr(plugin, "Settings", None) or getattr(plugin, "Options", None)
    if cls is None or not attrs.has(cls):
        return []
    return [
        {"key": found.name, "type": _type_name(found.type), "default": _default(found.default), "help": found.metadata.get("help")}
        for found in attrs.fields(cls)
    ]


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _default(default: Any) -> str:
    import attrs

    if default is attrs.NOTHING:
        return "(required)"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        made = default.factory() if not default.takes_self else None
        return "-" if made is None or attrs.has(type(made)) else str(made)
    return str(default)


def _screen(facts: dict[str, Any]) -> list[str]:
    from evalx.display.text import table

    lines = [
        f"plugin        {facts['name']}  ({facts['group']})",
        f"from          {facts['distribution']} {facts['version']}, {facts['value']}",
    ]
    if facts["summary"]:
        lines.append(f"what          {facts['summary']}")
    if facts["capabilities"]:
        lines.append(f"capabilities  {', '.join(facts['capabilities'])}")
    if facts["settings"]:
        rows = [(key["key"], key["default"], key["help"] or key["type"]) for key in facts["settings"]]
        lines += ["", *table(("setting", "default", "what for"), rows, width=width())]
    return lines
