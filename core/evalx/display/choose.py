"""Which display fits where the output goes."""

from __future__ import annotations

import os
import sys

from evalx.display.base import Display

KINDS = ("auto", "live", "plain", "jsonl", "none")


def choose(kind: str = "auto", *, notice: str | None = None) -> Display:
    """The display of that kind; `auto` is live on a terminal a person sits at, else plain. A plain `Display` shows nothing.

    notice: see Display.
    """
    kind = _fitting() if kind == "auto" else kind
    if kind == "live":
        from evalx.display.live import LiveDisplay

        return LiveDisplay(notice=notice)
    if kind == "plain":
        from evalx.display.plain import PlainDisplay

        return PlainDisplay(notice=notice)
    if kind == "jsonl":
        from evalx.display.jsonl import JsonLinesDisplay

        return JsonLinesDisplay(notice=notice)
    return Display(notice=notice)


def _fitting() -> str:
    person = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM", "dumb") != "dumb"
    return "live" if person else "plain"
