"""Names: what is allowed, and suffixes that the platform adds."""

from __future__ import annotations

import re
import secrets

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
NAME = re.compile(r"[a-z][a-z0-9-]{0,35}(?<!-)")


def suffix(length: int) -> str:
    """Random letters and digits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def is_name(text: str) -> bool:
    """Whether endpoints and jobs may be called so."""
    return NAME.fullmatch(text) is not None
