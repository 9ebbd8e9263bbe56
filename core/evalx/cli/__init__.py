"""The command line. Importing it costs click and the standard library; each command brings what it needs when it is called."""

from evalx.cli.app import cli, main

__all__ = ["cli", "main"]
