"""A run held against a policy: which rules it passes, and why."""

from evalx.gate.policy import Policy, Rule, read_policy
from evalx.gate.rules import Check, judge

__all__ = ["Check", "Policy", "Rule", "judge", "read_policy"]
