"""Runs the server: `python -m evalx_quickstart.numpy_server`, or the script `server.py` where the package is not installed."""

import sys

from .app import main

sys.exit(main())
