"""A run as one HTML page that needs nothing but itself: scores, timeline, failures, manifest."""

from evalx.report.data import Left, RunData, read_directory, read_stored
from evalx.report.file import MARK, is_report, write_report
from evalx.report.page import render

__all__ = ["MARK", "Left", "RunData", "is_report", "read_directory", "read_stored", "render", "write_report"]
