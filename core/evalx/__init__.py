"""evalx: evaluate language models anywhere, through plugins that run the work where you want it."""

__version__ = "0.1.0"
