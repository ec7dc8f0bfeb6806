"""Hand-made records."""

from __future__ import annotations

import itertools
from typing import Any

from stepguard.prompt import Step, Trajectory
from stepguard.train import Record

_NUMBERS = itertools.count()


def made_record(
    *texts: str, source: str = "mine", family: str = "f", unsafe: bool = False, **more: Any
) -> Record:
    """A record whose user says the texts, one a step; each call makes one with its own name."""
    name = f"r{next(_NUMBERS)}"
    steps = tuple(Step.user(text) for text in texts)
    return Record(name, source, family, unsafe, None, Trajectory("", steps), name, **more)
