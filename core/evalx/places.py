"""Where evalx keeps what is not a user's own: cheap to import."""

from __future__ import annotations

import os
from pathlib import Path

from evalx.errors import StoreError

DATABASE = "evalx.db"
"""The file of the store in the state directory."""


def state_directory() -> Path:
    """Where state is kept: `EVALX_STATE_DIR`, or the platform's folder for the state of applications. Raises StoreError."""
    given = os.environ.get("EVALX_STATE_DIR")
    if given:
        try:
            return Path(given).expanduser()
        except RuntimeError as error:
            raise StoreError(f"EVALX_STATE_DIR is {given}, for which there is no home folder", "set it to a full path") from error
    import platformdirs

    return Path(platformdirs.user_state_dir("evalx"))
