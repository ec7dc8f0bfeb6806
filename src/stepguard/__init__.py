"""stepguard: a verdict before every action of an LLM agent, in the agent's own process."""

from __future__ import annotations

from stepguard._version import __version__
from stepguard.errors import StepguardError
from stepguard.guard import Guard
from stepguard.prompt import Step, Trajectory
from stepguard.screen import Screen
from stepguard.session import Session
from stepguard.taxonomy import Diagnosis, Reason, Status, Turn, Verdict

__all__ = [
    "Diagnosis",
    "Guard",
    "Reason",
    "Screen",
    "Session",
    "Status",
    "Step",
    "StepguardError",
    "Trajectory",
    "Turn",
    "Verdict",
    "__version__",
]
