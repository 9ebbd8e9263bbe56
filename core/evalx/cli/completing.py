"""What a shell is offered when it completes an argument of a command. Called at every press of a key, so nothing heavy is imported."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, split_arg_string

from evalx.errors import ConfigError

if TYPE_CHECKING:
    import sqlite3

Offer = Iterable[tuple[str, str]]
"""Values, each with a few words about it."""

GROUPS = ("execution", "deployment")
"""Config groups, of which `group=choice` takes one."""

RUNS = 50
"""The newest runs that are offered."""


def teach(command: click.Command, path: str) -> None:
    """Let the parameters of a command, and of the commands in it, be completed, known by what they are called. path: the command's name."""
    for parameter in command.params:
        offer = OFFERS.get(f"{path}.{parameter.name}") or OFFERS.get(parameter.name or "")
        if offer is not None and isinstance(parameter.type, click.types.StringParamType):
            setattr(parameter, "shell_complete", partial(_items, offer))  # noqa: B010 -- the instance's own, in place of the class's
    for name, inner in getattr(command, "commands", {}).items():
        teach(inner, f"{path} {name}")


def _items(offer: Callable[[click.Context, str], Offer], ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    try:
        found = [CompletionItem(value, help=about or None) for value, about in offer(ctx, incomplete) if value.startswith(incomplete)]
    except Exception:  # noqa: BLE001 -- a shell that completes has no place for errors
        return []
    return found or ([CompletionItem(incomplete, type="file")] if offer is _config_and_keys and not ctx.params.get("args") else [])


# ---------------------------------------------------------------------- runs


def _runs(_ctx: click.Context, _incomplete: str) -> Offer:
    rows = _query("SELECT run_id, executor, coalesce(outcome, state) AS state FROM runs ORDER BY rowid DESC LIMIT ?", RUNS)
    yield from ((row["run_id"], f"{row['state']}, on {row['executor']}") for row in rows)
    if rows:
        yield "last", "the newest run"


def _tasks_of_run(ctx: click.Context, _incomplete: str) -> Offer:
    run = ctx.params.get("run") or "last"
    beginning = "" if run == "last" else run
    for row in _query("SELECT plan FROM runs WHERE substr(run_id, 1, length(?1)) = ?1 ORDER BY rowid DESC LIMIT 1", beginning):
        yield from ((task["name"], task["harness"]) for task in json.loads(row["plan"])["tasks"])


def _query(sql: str, *parameters: Any) -> list[sqlite3.Row]:
    """Rows of the store, which is only looked at, without the code that keeps it."""
    import sqlite3
    from contextlib import closing

    from evalx.places import DATABASE, state_directory

    with closing(sqlite3.connect(f"file:{state_directory() / DATABASE}?mode=ro", uri=True, timeout=0.5)) as db:
        db.row_factory = sqlite3.Row
        return db.execute(sql, parameters).fetchall()


# ---------------------------------------------------------------------- configs


def _config_and_keys(ctx: click.Context, incomplete: str) -> Offer:
    before_value = _key_in_hand(incomplete)
    if before_value is not None:
        key, begun = before_value
        return ((f"{begun}{choice}", "") for choice in _choices(key))
    given = [text for text in ctx.params.get("args") or () if "=" not in text]
    if not ctx.params.get("args") and not ctx.params.get("config_name"):
        return _configs(incomplete)
    if os.environ.get("_EVALX_COMPLETE", "").startswith("zsh") or not given:
        return ()  # zsh would put a space after `key=`
    return _keys(given[0])


def _key_in_hand(incomplete: str) -> tuple[str, str] | None:
    """The key whose value is being typed, and what of the word stands before the value; None if none is. bash breaks words at `=`."""
    words = split_arg_string(os.environ.get("COMP_WORDS", ""))
    at = os.environ.get("COMP_CWORD", "")
    around = words[int(at) - 1 : int(at) + 1] if at.isdecimal() and int(at) else []
    if "=" in around:
        return words[int(at) - (1 if around[-1] == "=" else 2)], ""
    key, equals, _ = incomplete.partition("=")
    return (key, f"{key}=") if equals else None


def _choices(group: str) -> list[str]:
    """What can be chosen in a config group."""
    from evalx.config.search import plugin_configs, shipped_configs

    folders = [place / group for place in (Path.cwd(), shipped_configs(), *plugin_configs()) if group in GROUPS]
    return sorted({str(file.relative_to(folder).with_suffix("")) for folder in folders for file in folder.glob("**/*.yaml")})


def _configs(incomplete: str) -> Offer:
    from evalx.config.search import plugin_configs, shipped_configs

    folder = Path(incomplete.rpartition("/")[0] or ("/" if incomplete.startswith("/") else ""))
    yield from ((str(file), "") for file in sorted(folder.glob("*.yaml")))
    for place in [Path("configs"), shipped_configs(), *plugin_configs()]:
        yield from ((file.stem, _first_comment(file)) for file in sorted(place.glob("*.yaml")))


def _first_comment(file: Path) -> str:
    line = file.read_text(encoding="utf-8").partition("\n")[0]
    return line.removeprefix("# ").partition(". ")[0] if line.startswith("# ") else ""


def _keys(config: str) -> Offer:
    seen: dict[str, str] = {}
    for document, package in _documents(config):
        for key, value in _leaves(document, package):
            seen.setdefault(f"{key}=", value)
    return sorted(seen.items())


def _tasks_of_config(ctx: click.Context, _incomplete: str) -> Offer:
    for word in _words_after(ctx.info_name or ""):
        with suppress(ConfigError):
            for document, _ in _documents(word):
                yield from ((task["name"], "") for task in (document.get("evaluation") or {}).get("tasks") or [])


def _words_after(command: str) -> Iterator[str]:
    """What may be a config among the words of the line; click itself does not tell while the value of an option is still missing."""
    words = split_arg_string(os.environ.get("COMP_WORDS", ""))
    return (word for word in words[words.index(command) + 1 :] if not word.startswith("-") and "=" not in word)


def _documents(config: str) -> Iterator[tuple[dict[str, Any], str]]:
    """A config and those that it takes in, without composing them; each with the key under which its content stands."""
    import yaml

    from evalx.config.search import find_config, shipped_configs

    path = find_config(config, None, None)
    document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    yield document, ""
    for item in document.get("defaults") or ():
        if isinstance(item, str) and item != "_self_":
            yield from _documents(item)
        elif isinstance(item, dict):
            for group, choice in item.items():
                places = (folder / group / f"{choice}.yaml" for folder in (path.parent, shipped_configs()))
                yield from ((yaml.safe_load(file.read_text()) or {}, group) for file in places if file.is_file())


def _leaves(data: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        path = f"{at}.{key}" if at else key
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        elif path != "defaults":
            yield path, "" if isinstance(value, list | dict) else f"now {value}"


# ---------------------------------------------------------------------- catalogue and plugins


def _catalogue(_ctx: click.Context, incomplete: str) -> Offer:
    """Names of tasks, or those of one suite once its dot is typed."""
    from evalx.tasks import all_tasks

    if "." in incomplete:
        yield from ((task.query, "") for task in all_tasks())
    else:
        yield from ((name, suites) for name, suites in _by_name(all_tasks()).items())


def _by_name(tasks: Iterable[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for task in tasks:
        found[task.name] = f"{found[task.name]}, {task.suite}" if task.name in found else task.suite
        found.setdefault(f"{task.suite}.", "a suite")
    return found


def _plugins(prefix: str, _ctx: click.Context, _incomplete: str) -> Offer:
    from evalx import catalog

    return sorted({(info.name, info.group) for info in catalog.plugins() if info.group.startswith(prefix)})


def _deployments(ctx: click.Context, _incomplete: str) -> Offer:
    from evalx import catalog

    wanted = f"evalx.{ctx.params['executor']}." if ctx.params.get("executor") else "evalx."
    return sorted({(i.name, i.group) for i in catalog.plugins() if i.group.startswith(wanted) and i.group.endswith(".deployments")})


OFFERS: dict[str, Callable[[click.Context, str], Offer]] = {
    "run": _runs,
    "cleanup.args": _runs,
    "compare.a": _runs,
    "compare.b": _runs,
    "baseline": _runs,
    "task": _tasks_of_run,
    "args": _config_and_keys,
    "tasks": _tasks_of_config,
    "init.tasks": _catalogue,
    "tasks show.name": _catalogue,
    "tasks ls.query": _catalogue,
    "plugins show.name": partial(_plugins, "evalx."),
    "executor": partial(_plugins, "evalx.executors"),
    "exporter": partial(_plugins, "evalx.exporters"),
    "deployment": _deployments,
}
"""By the name of a parameter; or, where the name is not enough, by command and parameter."""
