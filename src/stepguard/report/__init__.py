"""A trajectory and what a guard said of it, as one page without scripts."""

from __future__ import annotations

from stepguard.report.judged import Judged, Judgement, Model, check_fit, read_judgement, read_saved
from stepguard.report.page import Shown, page

__all__ = [
    "Judged",
    "Judgement",
    "Model",
    "Shown",
    "check_fit",
    "page",
    "read_judgement",
    "read_saved",
]
