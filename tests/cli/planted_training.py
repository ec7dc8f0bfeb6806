"""Planted data to learn from and to measure on."""

from __future__ import annotations

import json
from types import SimpleNamespace

from stepguard.cli import calibrate, head, info
from tests.cli.planted import WORDS
from tests.cli.planted_place import STEPS, Place
from tests.cli.ran import Ran


def calibrated_nothing(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.jsonl"
    path.write_text(json.dumps({"contents": STEPS, "label": WORDS}))
    return at.run("calibrate", "model", path, "--target-fnr", "0.1")


def headed_nothing(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.jsonl"
    value = {"contents": STEPS, "label": 1, "first_unsafe_step": 1, "risk_source": WORDS}
    path.write_text(json.dumps(value))
    return at.run("head", "fit", "model", path)


def calibrated(at: Place) -> Ran:
    """What is printed at the end, words in every place."""
    quality = SimpleNamespace(ece=0.1, brier=0.1, log_loss=0.1)
    rates = SimpleNamespace(missed=0.1, false_alarms=0.1, per_100_actions=1.0)
    report = SimpleNamespace(
        target=SimpleNamespace(rate="fnr", rule=WORDS, delta=0.1, target=0.1),
        threshold=SimpleNamespace(families=3, rate=0.1),
        records=3, families=3, points=3, unread=0, method=WORDS, losses={WORDS: 0.1},
        before=quality, after=quality, low=0.1, high=0.2, not_safe=rates, unsafe=rates,
    )  # fmt: skip
    key = {WORDS: WORDS}
    at.patch.setattr(info, "run", lambda _: calibrate._print(report, key, written=True) or 0)
    return at.run("info")


def headed(at: Place) -> Ran:
    value = SimpleNamespace(value=0.5, low=0.4, high=0.6)
    names = ("within", "matched_within", "across", "matched", "position", "gain")
    source = SimpleNamespace(name=WORDS, families=3, prefixes=3, **dict.fromkeys(names, value))
    report = SimpleNamespace(
        labels=[WORDS], counts=[3], families=3, kind=WORDS, target=WORDS, strength=0.1,
        chosen={0.1: 0.5}, sources=[source], mean=source,
    )  # fmt: skip
    facts = {"records": 3, "unread": 0, "written": True}
    at.patch.setattr(info, "run", lambda _: head._print(report, {WORDS: WORDS}, facts) or 0)
    return at.run("info")


def benched(at: Place) -> Ran:
    return at.run("bench", "quality", at.folder / WORDS, at.folder / WORDS)


def bench_grown(at: Place) -> Ran:
    return at.run("bench", "growth", at.folder / WORDS)


CASES = [calibrated_nothing, headed_nothing, calibrated, headed, benched, bench_grown]
SHOW = {calibrated, headed}
