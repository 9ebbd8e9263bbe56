"""Taking secrets out of text that leaves evalx: what is shown, and what is exported."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)

SHORTEST_SECRET = 8
"""Characters below which a value is too common to be replaced wherever it stands."""


def redact(text: str) -> str:
    """The text with the values of environment variables that look like secrets replaced by their names."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST_SECRET and _SECRET_NAME.search(name):
            for form in _forms(value):
                text = text.replace(form, f"<{name}>")
    return text


def redacted(data: Any) -> Any:
    """Plain data with `redact` applied to every string in it, and bytes that are no text made printable."""
    if isinstance(data, str):
        return redact(data.encode("utf-8", "backslashreplace").decode())
    if isinstance(data, dict):
        return {redacted(key): redacted(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [redacted(item) for item in data]
    return data


def _forms(value: str) -> Iterator[str]:
    """The value as it is, as it stands in a URL, and as base64."""
    encoded = value.encode("utf-8", "surrogateescape")
    yield value
    if (in_url := quote(encoded, safe="")) != value:
        yield in_url
    yield base64.b64encode(encoded).decode().rstrip("=")
