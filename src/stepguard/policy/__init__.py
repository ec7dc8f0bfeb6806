"""Policy: from a verdict to what a host does with an action."""

from __future__ import annotations

from stepguard.policy.decision import Decision, Outcome
from stepguard.policy.file import parse_policy, read_policy
from stepguard.policy.rules import LabelRule, Policy, Settings, ToolRule

__all__ = [
    "Decision",
    "LabelRule",
    "Outcome",
    "Policy",
    "Settings",
    "ToolRule",
    "parse_policy",
    "read_policy",
]
