"""Two runs side by side: what may be compared, and what the difference shows."""

from evalx.compare.runs import Comparison, Refusal, RunComparison, Verdict, compare

__all__ = ["Comparison", "Refusal", "RunComparison", "Verdict", "compare"]
