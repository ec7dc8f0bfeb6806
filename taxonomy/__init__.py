"""Label logits -> verdict: plain data and numpy."""

from __future__ import annotations

from stepguard.taxonomy.labels import LabelRows
from stepguard.taxonomy.score import Calibration, judge
from stepguard.taxonomy.status import Reason, Status
from stepguard.taxonomy.verdict import GuardId, Turn, Verdict, worse

__all__ = [
    "Calibration",
    "GuardId",
    "LabelRows",
    "Reason",
    "Status",
    "Turn",
    "Verdict",
    "judge",
    "worse",
]
