"""From what a task left behind to its result: judged in one place, hashed, kept, and shown without its escape sequences."""

from evalx.results.judge import conclude
from evalx.results.logs import clean, tail
from evalx.results.store import RESULT_FILE, changed_artifacts, read_result, write_result

__all__ = ["RESULT_FILE", "changed_artifacts", "clean", "conclude", "read_result", "tail", "write_result"]
