"""The section `export`: where the results are carried when the run has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from evalx.config.structure import Reader, suggestion, to_plain
from evalx.errors import PluginError
from evalx.exporters.loading import load_exporter
from evalx.model import ExportSpec


def read_exports(section: Any, reader: Reader) -> tuple[ExportSpec, ...]:
    """The exports that are right, in the order of the config; mistakes are noted in the reader."""
    if section is None:
        return ()
    if not isinstance(section, Mapping):
        reader.error(("export",), "expected a mapping of exporters to their options", "export: {csv: {output: scores.csv}}")
        return ()
    read = [_read(str(name), {} if options is None else options, reader) for name, options in section.items()]
    return tuple(spec for spec in read if spec is not None)


def _read(name: str, section: Any, reader: Reader) -> ExportSpec | None:
    at, before = ("export", name), len(reader.errors)
    try:
        exporter = load_exporter(name)
    except PluginError as error:
        reader.error(at, error.message, error.hint)
        return None
    if not isinstance(section, Mapping):
        reader.error(at, "expected a mapping of keys to values", f"export: {{{name}: {{}}}}")
        return None
    output = reader.read(section.get("output"), str | None, (*at, "output"))
    if output is not None and exporter.file_name is None:
        reader.error((*at, "output"), "means nothing here: this exporter writes no file")
    own = [field.name for field in attrs.fields(exporter.Options) if field.init]
    known = own if exporter.file_name is None else [*own, "output"]
    for key in section.keys() - {*own, "output"}:
        reader.error((*at, key), "unknown key", suggestion(str(key), known) or f"known here: {', '.join(sorted(known))}")
    options = reader.read({key: value for key, value in section.items() if key in own}, exporter.Options, at)
    if len(reader.errors) > before:
        return None
    try:
        return ExportSpec(name, None if output is None else _absolute(output), to_plain(options))
    except RuntimeError:
        reader.error((*at, "output"), f"there is no home folder for '{output}'", "give the full path")
        return None


def _absolute(output: str) -> str:
    """The same file from whatever folder the run is resumed; `/` at the end, which says that it is a folder, stays."""
    return str(Path(output).expanduser().absolute()) + ("/" if output.endswith("/") else "")
