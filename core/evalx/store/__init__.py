"""What evalx knows of runs: a database in the user's state directory, and in each run's directory an event file derived from it."""

from evalx.store.journal import Journal
from evalx.store.lease import Holder
from evalx.store.records import ResourceRecord, RunRecord, TaskRecord
from evalx.store.store import Store

__all__ = ["Holder", "Journal", "ResourceRecord", "RunRecord", "Store", "TaskRecord"]
