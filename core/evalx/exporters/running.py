"""Exporting a run: by hand, or when it has ended."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from attrs import frozen

from evalx.config.structure import structure
from evalx.errors import ConfigErrors, EvalxError, ExportFailed, PluginError
from evalx.exporters.account import RunAccount
from evalx.exporters.api import Exporter
from evalx.exporters.destination import Destination
from evalx.exporters.loading import load_exporter
from evalx.model import ExportSpec
from evalx.redaction import redact

PATIENCE = 300.0
"""Seconds that an export at the end of a run may take; then it is given up, and the user is told how to repeat it."""

FOLDER = "exports"
"""Folder of the run directory for files that the config gives no other place."""


@frozen
class Exported:
    """What came of an export. where: where it went. error: why it went nowhere, and hint: what to do about that."""

    exporter: str
    where: str | None = None
    error: str | None = None
    hint: str | None = None


def export(name: str, run: RunAccount, output: str | Path | None, options: Mapping[str, Any]) -> Exported:
    """Export a run. output: file or folder; None: standard output. options: as the user wrote them.

    Raises ConfigErrors for wrong options, PluginError, ExportFailed.
    """
    exporter = load_exporter(name)
    chosen: Any = _options(name, exporter, options)
    if exporter.file_name is None:
        if output is not None:
            raise PluginError(f"the exporter {name} writes no file", f"leave the file out; its options: evalx plugins show {name}")
        destination = Destination()
    else:
        destination = Destination() if output is None else Destination.at(output, exporter.file_name)
    where = _guarded(name, exporter, run, destination, chosen)
    return Exported(name, where or (None if destination.path is None else str(destination.path)))


def _options(name: str, exporter: type[Exporter], options: Mapping[str, Any]) -> Any:
    try:
        return structure(exporter.Options, options)
    except ConfigErrors as error:
        for mistake in error.errors:
            mistake.hint = mistake.hint or f"its options: evalx plugins show {name}"
        raise


def export_planned(spec: ExportSpec, run: RunAccount, patience: float = PATIENCE) -> Exported:
    """An export that the config asks for. Never raises, and never takes longer than `patience` seconds."""
    again = f"evalx export {run.run_id}"
    done: list[Exported] = []

    def work() -> None:
        done.append(_told(spec, run, again))

    thread = threading.Thread(target=work, name=f"evalx-export-{spec.exporter}", daemon=True)
    streams = sys.stdin, sys.stdout
    thread.start()
    try:
        thread.join(patience)
    except KeyboardInterrupt:
        return Exported(spec.exporter, error=f"the export to {spec.exporter} was interrupted", hint=again)
    finally:
        sys.stdin, sys.stdout = streams  # an exporter that is left behind keeps what it has
    return (
        done[0] if done else Exported(spec.exporter, error=f"the export to {spec.exporter} was not done within {patience:g} s", hint=again)
    )


def _told(spec: ExportSpec, run: RunAccount, again: str) -> Exported:
    try:
        writes = load_exporter(spec.exporter).file_name is not None
        output = f"{run.directory / FOLDER}/" if spec.output is None else spec.output
        return export(spec.exporter, run, output if writes else None, spec.options)
    except EvalxError as error:
        return Exported(spec.exporter, error=redact(str(error)), hint=f"{redact(error.hint)}; then {again}" if error.hint else again)
    except BaseException as error:  # noqa: BLE001 -- whatever happens to an export, the run has ended as it has ended
        return Exported(spec.exporter, error=redact(f"export to {spec.exporter} failed: {type(error).__name__}: {error}"), hint=again)


@contextmanager
def _unattended() -> Iterator[None]:
    """Nobody answers: a library that lacks a password must say so and not ask for it, perhaps at the end of a run at night."""
    before = sys.stdin
    with Path(os.devnull).open() as nobody:
        sys.stdin = nobody
        try:
            yield
        finally:
            sys.stdin = before


def _guarded(name: str, exporter: type[Exporter], run: RunAccount, destination: Destination, options: Any) -> str | None:
    """The exporter's own work. What it prints goes to stderr: stdout may hold a document of ours."""
    to_stdout = exporter.file_name is not None and destination.path is None
    try:
        with _unattended(), nullcontext() if to_stdout else redirect_stdout(sys.stderr):
            return exporter().export(run, destination, options)
    except (EvalxError, BrokenPipeError):
        raise
    except (Exception, SystemExit) as error:
        detail = str(error).strip().partition("\n")[0][:300]
        raise ExportFailed(f"export to {name} failed: {type(error).__name__}: {detail}", "-v shows more") from error
