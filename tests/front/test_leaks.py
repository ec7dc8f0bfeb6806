"""After any life of a guard, all is as it was before: pages, slots, bytes, descriptors, threads.

`long_life.py` leads the life in a process of its own: twelve sessions at a time push, check,
commit, reject, peek, fork and go, half of them without a word, in memory that they outgrow, with
deadlines that some calls miss.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["attention", "hybrid"]


def live(model: Path, pushes: int, seed: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.front.long_life", str(model), str(pushes), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def check(report: dict[str, Any], pushes: int) -> None:
    assert report["start"] == report["warm"] == report["end"]
    assert report["start"]["sessions"] == report["start"]["tracks"] == 0
    assert report["start"]["pages_used"] > 0  # the prefix
    first, last = report["answers"]
    assert first == last
    assert report["done"]["push"] == pushes
    names = "session push check commit reject peek observe judge turn fork close abandon"
    assert set(names.split()) <= set(report["done"])
    # No other reason: nothing was lost inside.
    assert set(report["reasons"]) <= {"answered", "deadline", "memory", "overflow"}
    assert report["reasons"]["answered"] > report["reasons"]["deadline"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_life(small_guards: dict[str, Path], kind: str) -> None:
    check(live(small_guards[kind], 250, seed=2), 250)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_pushes(small_guards: dict[str, Path], kind: str) -> None:
    report = live(small_guards[kind], 10_000, seed=1)
    check(report, 10_000)
    assert report["done"]["session"] + report["done"]["fork"] >= 200
    assert report["evicted"] > 100  # the memory was too small for them all
    before, after = report["resident"]
    assert after < 1.05 * before
