"""Harness adapters: how a task becomes a command, and how what it leaves behind becomes metrics."""

from evalx.harnesses.api import Harness, HarnessCommand, ResultError, Target

__all__ = ["Harness", "HarnessCommand", "ResultError", "Target"]
