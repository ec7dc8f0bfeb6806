"""What gates are asked in tests: guards that answer by the text, and engines that are slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from stepguard.policy import Decision
from stepguard.taxonomy import LabelRows
from tests.front.fakes import FakeEngine, FakeTicket, asked_texts

Plan = Callable[..., None]


def answer_by_text(
    engine: FakeEngine, patch: pytest.MonkeyPatch, unsafe: Callable[[str], bool]
) -> None:
    """Whatever is asked about is unsafe where this says so of the text before the answer."""
    texts: list[str] = []

    def margin(*_: object) -> float:
        if not texts:
            texts.extend(asked_texts(engine))
        return 2.0 if unsafe(texts.pop(0)) else -2.0

    patch.setattr(LabelRows, "margin", margin)


def answer_slowly(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every wait for the engine takes so much longer."""
    real = FakeTicket.wait

    def slow(self: FakeTicket, timeout: float | None = None) -> Any:
        time.sleep(seconds)
        return real(self, timeout)

    patch.setattr(FakeTicket, "wait", slow)


def outcomes(decisions: list[Decision]) -> list[str]:
    return [str(decision.outcome) for decision in decisions]
