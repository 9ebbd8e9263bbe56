"""What an exporter is.

An exporter is a class in the entry-point group `evalx.exporters`, made without arguments:

    class LinesExporter:
        evalx_api = (1, 0)
        Options = NoOptions
        file_name = "scores.txt"

        def export(self, run, destination, options):
            destination.write("".join(f"{task.name} {metric.value}\\n" for task, metric in run.scores()))

It looks at a run and changes nothing of it. It may be called for a run that has failed, is still going on or has no result at all, and
again for a run that it has exported before: the second time must leave the same as the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from attrs import frozen

from evalx.exporters.account import RunAccount
from evalx.exporters.destination import Destination


@frozen
class NoOptions:
    """For exporters that have nothing to choose."""


class Exporter(Protocol):
    """An exporter.

    Options: an attrs class whose fields are the keys a user may give, made with `evalx.config.setting`. No key may hold a secret: a
    library that needs one finds it in the environment.

    file_name: the name of the file where the user gives none; None for an exporter that sends results to a service and writes no file.

    An exporter that needs a library which evalx does not bring imports it inside its methods, and may say in a class attribute
    `requires: Mapping[str, str]` which: the name of the module, and what a user must `pip install` for it. Who lacks it is told before
    anything is created.
    """

    evalx_api: ClassVar[tuple[int, int]]
    Options: ClassVar[type]
    file_name: ClassVar[str | None]

    def export(self, run: RunAccount, destination: Destination, options: Any) -> str | None:
        """Export the run; returns where it went, as the user is told (None: to the file of the destination).

        A file is written by `destination.write`, once. options: an instance of `Options`. Whatever is raised is told to the user; raise
        ConfigError where options do not fit the run, ExportFailed where a service refuses.
        """


def requirements(exporter: object) -> Mapping[str, str]:
    """The modules an exporter needs beside evalx, and what to install for each."""
    return getattr(exporter, "requires", {})
