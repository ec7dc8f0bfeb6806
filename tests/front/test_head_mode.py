"""Verdicts by a head: its margin, what is not finite, and guards without labels."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepguard.errors import PromptError
from stepguard.heads import Head
from stepguard.judge import Cost, Judge
from stepguard.manifest import Manifest
from stepguard.prompt import Encoder
from stepguard.taxonomy import Verdict
from stepguard.track import Ask, Track
from tests.front.fakes import FAKE_SETTINGS, byte_tokenizer, calibrated, make_prompt
from tests.front.manifests import sample

PROMPT = make_prompt()
# The second entry of the row, doubled.
HEAD = Head(np.zeros(2), np.ones(2), ((np.array([[0.0, 2.0]]), np.zeros(1)),))


def judge_of(head: Head | None, calibration: list[dict[str, Any]] | None = None) -> Judge:
    value = {**sample(), "prompt": PROMPT.to_manifest(), "calibration": calibration or []}
    return Judge.of(Manifest.from_dict(value), PROMPT, head=head, **FAKE_SETTINGS)


def verdict(judge: Judge, *rows: list[float]) -> Verdict:
    encoder = Encoder(PROMPT, byte_tokenizer())
    ask = Ask.at(Track.begin(encoder, ""), encoder)
    logits = np.zeros(len(judge.rows), np.float32)
    answers: Any = [
        SimpleNamespace(reason="", logits=logits, hidden=np.array(row, np.float32)) for row in rows
    ]
    return judge.verdict(ask, answers, 0, Cost(1, 1.0))


def test_the_margin_is_the_heads() -> None:
    found = verdict(judge_of(HEAD), [9.0, -0.5])
    assert (found.status, found.margin, found.mode) == ("safe", -1.0, "head")
    assert found.score == pytest.approx(1 / (1 + math.e))
    found = verdict(judge_of(HEAD), [9.0, -0.5], [0.0, 0.25])  # two windows
    assert (found.status, found.margin) == ("unsafe", 0.5)
    assert verdict(judge_of(None), [9.0, -0.5]).mode == "first_token"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_verdict(value: float) -> None:
    found = verdict(judge_of(HEAD), [1.0, 1.0], [1.0, value])
    assert (found.status, found.reason) == ("unavailable", "numeric")
    assert found.message == "the output of the head is not a finite number"


def test_each_mode_has_its_own_calibration() -> None:
    entries = calibrated(PROMPT, "head", 3.0, 0.0)
    manifest = Manifest.from_dict({**sample(), "prompt": PROMPT.to_manifest()})
    entries = [{**entry, "model": manifest.sha256} for entry in entries]
    found = verdict(judge_of(HEAD, entries), [0.0, 0.5])
    assert found.calibrated
    assert found.score == pytest.approx(1 / (1 + math.exp(-3.0)))
    assert not verdict(judge_of(None, entries), [0.0, 0.5]).calibrated


def test_a_guard_that_only_diagnoses_judges_by_a_head() -> None:
    bare = dataclasses.replace(judge_of(None), labels=None)
    with pytest.raises(PromptError, match="one that only diagnoses"):
        bare.check_verdicts()
    judge = dataclasses.replace(judge_of(HEAD), labels=None)
    judge.check_verdicts()
    assert judge.rows.tolist() == [0]  # the hidden row comes only with an output row
    assert verdict(judge, [0.0, 1.0]).margin == 2.0
