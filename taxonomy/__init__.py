"""Labels: their logits -> verdict and diagnosis. Plain data and numpy."""

from __future__ import annotations

from stepguard.taxonomy.answers import ANSWER_LINES, AnswerLines, lines_of
from stepguard.taxonomy.catalogue import SHIPPED, Taxonomy, shipped
from stepguard.taxonomy.diagnosis import Diagnosis
from stepguard.taxonomy.dimensions import Dimension, Label
from stepguard.taxonomy.failure_modes import FailureMode
from stepguard.taxonomy.fields import EXPORT_AGAIN, Entry, Field, Fields
from stepguard.taxonomy.harms import RealWorldHarm
from stepguard.taxonomy.labels import LabelRows
from stepguard.taxonomy.risk_sources import RiskSource
from stepguard.taxonomy.score import Calibration, judge
from stepguard.taxonomy.status import Reason, Status
from stepguard.taxonomy.trie import Branch, Trie, outside
from stepguard.taxonomy.user_file import parse_taxonomy, read_taxonomy, taxonomy_of
from stepguard.taxonomy.verdict import GuardId, Turn, Verdict, worse

__all__ = [
    "ANSWER_LINES",
    "EXPORT_AGAIN",
    "SHIPPED",
    "AnswerLines",
    "Branch",
    "Calibration",
    "Diagnosis",
    "Dimension",
    "Entry",
    "FailureMode",
    "Field",
    "Fields",
    "GuardId",
    "Label",
    "LabelRows",
    "RealWorldHarm",
    "Reason",
    "RiskSource",
    "Status",
    "Taxonomy",
    "Trie",
    "Turn",
    "Verdict",
    "judge",
    "lines_of",
    "outside",
    "parse_taxonomy",
    "read_taxonomy",
    "shipped",
    "taxonomy_of",
    "worse",
]
