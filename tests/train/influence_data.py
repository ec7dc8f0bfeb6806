"""Synthetic records for influence: rows of two labels that a line tells apart, with noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stepguard.prompt import Step, Trajectory
from stepguard.train.records import Record
from stepguard.train.rows import RecordRows

WIDTH = 40
SIGNAL = 0.45  # so that a head has an AUROC of about 0.9, as on hidden rows of seen families


@dataclass(frozen=True, eq=False)
class Planted:
    """Records with rows, and which of them have the wrong label (bool [n])."""

    records: list[Record]
    rows: list[RecordRows]
    wrong: np.ndarray


def planted(seed: int, count: int = 200, flips: float = 0.1, name: str = "s") -> Planted:
    """Two or three actions a record; features with a long tail of scales, as hidden rows have, and
    an offset for every family of four."""
    rng = np.random.default_rng([seed, count])
    axis = np.random.default_rng(5).standard_normal(WIDTH) / np.sqrt(WIDTH)
    scales = np.exp(np.random.default_rng(6).standard_normal(WIDTH))
    offsets = 0.4 * rng.standard_normal((count // 4 + 1, WIDTH))
    wrong = np.zeros(count, bool)
    wrong[rng.permutation(count)[: round(flips * count)]] = True
    records, rows = [], []
    for number in range(count):
        unsafe = bool(number % 2)
        actions = int(rng.integers(2, 4))
        steps = (Step.user("go"), *(Step.agent(f"{number}", "act") for _ in range(actions)))
        last = len(steps) - 1
        labelled = unsafe != wrong[number]
        records.append(
            Record(
                name=f"{name}{number}",
                source=name,
                family=f"{name}/{number // 4}",
                unsafe=labelled,
                first_unsafe=last if labelled else None,
                trajectory=Trajectory("", steps),
                sha256=f"{name}-{seed}-{number:05d}",
            )
        )
        signs = np.array([-1.0] * (actions - 1) + [1.0 if unsafe else -1.0])
        noise = rng.standard_normal((actions, WIDTH))
        table = SIGNAL * signs[:, None] * axis * np.sqrt(WIDTH) / 2 + noise + offsets[number // 4]
        rows.append(
            RecordRows(
                records[-1].sha256,
                tuple(range(1, last + 1)),
                (table * scales).astype(np.float32),
            )
        )
    return Planted(records, rows, wrong)
