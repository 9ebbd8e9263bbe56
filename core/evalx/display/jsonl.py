"""One JSON object per event on stdout, for programs that follow a run."""

from __future__ import annotations

import json

import click

from evalx.display.base import Display
from evalx.model import Event


class JsonLinesDisplay(Display):
    """Every event as it is in the run's events.jsonl, with the version of the format as `schema`."""

    def happened(self, event: Event) -> None:
        from evalx.serial import to_json

        click.echo(json.dumps({"schema": 1, **to_json(event)}))
