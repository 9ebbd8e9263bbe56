"""The key from which the tokens of runs are derived."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path

from evalx.errors import StoreError
from evalx.places import state_directory

KEY_BYTES = 32


def state_key() -> bytes:
    """The key of this user on this machine, made when it is first needed; readable by the user alone. Raises StoreError."""
    path = state_directory() / "key"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise StoreError(f"the key {path} can be neither read nor made: {error}") from error
    if len(key) != KEY_BYTES:
        raise StoreError(f"the key {path} is damaged", "remove it; running endpoints made with it can then only be cleaned up")
    return key


def _make(path: Path) -> None:
    """Write the key as a whole or not at all; if another process or thread is faster, its key stays."""
    part = path.with_name(f"key.{os.getpid()}.{threading.get_ident()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    finally:
        part.unlink()
