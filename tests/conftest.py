"""Every test has a state directory of its own and sees no plugin or configuration of the machine it runs on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """A shell that starts tests in the background has SIGINT ignored, and so would every program that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def evalx_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private home for evalx's state; `EVALX_*` of the caller is forgotten. Returns the state directory."""
    state = tmp_path / "state"
    for name in ("EVALX_BLOCK", "EVALX_TRUST_PRE_CMD", "EVALX_FAILPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EVALX_STATE_DIR", str(state))
    return state
