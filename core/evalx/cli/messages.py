"""Log messages of evalx and its plugins: on stderr, as loud as the user asked."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

from evalx.redaction import redact, redacted

LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


def configure(verbosity: int) -> None:
    """Send structlog's and the standard library's messages to stderr. verbosity: -v counted up, -q counted down."""
    import structlog

    level = LEVELS[max(-1, min(2, verbosity))]
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _without_secrets,
            structlog.dev.ConsoleRenderer(colors=bool(colours)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_stderr,
        cache_logger_on_first_use=False,
    )


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _without_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    return redacted({key: value if isinstance(value, str) else repr(value) for key, value in event.items()})


def _stderr(*_args: Any) -> Any:
    """A logger on what stderr is now: a live display puts itself in its place while it draws."""
    import structlog

    return structlog.PrintLogger(sys.stderr)
