"""Results carried elsewhere: files, trackers, leaderboards. Each exporter is a plugin of the group `evalx.exporters`."""

from evalx.exporters.account import RunAccount
from evalx.exporters.api import Exporter, NoOptions
from evalx.exporters.destination import Destination

__all__ = ["Destination", "Exporter", "NoOptions", "RunAccount"]
