"""Which prefixes are labelled, and what a whole trajectory counts as."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.errors import TrajectoryError
from stepguard.train import read_records
from stepguard.train.points import label_points, safe_actions, whole_units
from stepguard.train.scores import Scored

STEPS = [
    {"role": "user", "content": "go"},
    {"role": "agent", "thought": "", "action": "a()"},
    {"role": "environment", "content": "ok"},
    {"role": "agent", "thought": "", "action": "b()"},
    {"role": "agent", "thought": "", "action": "c()"},
]


def record(label: int, first: int | None = None, **more: Any) -> dict[str, Any]:
    return {"contents": STEPS, "label": label, "first_unsafe_step": first, **more}


def write(path: Path, *values: object) -> Path:
    path.write_bytes(b"\n".join(json.dumps(value).encode() for value in values))
    return path


def test_prefixes_and_units(tmp_path: Path) -> None:
    values = [
        record(0, id="s", meta={"family": "f"}),
        record(1, 3, id="u", meta={"family": "f"}),
        record(1, None, id="v", meta={"family": "g"}),
        record(1, 1, id="w"),
    ]
    records = read_records([write(tmp_path / "a.jsonl", *values)])
    scored = [Scored(r.sha256, (1, 3, 4), (5.0, 1.0, 2.0)) for r in records[:3]]
    scored.append(Scored(records[3].sha256, (), (), "overflow: too long"))
    points = label_points(records, scored)
    assert points.unsafe.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert points.margins.tolist() == [5, 1, 2, 5, 1, 2, 2]
    assert points.weights == pytest.approx([1 / 3] * 6 + [1])
    units = whole_units(records, scored)
    assert units.margins.tolist() == [5, 5, 5]  # up to the first unsafe step, where it is known
    assert units.unsafe.tolist() == [0, 1, 1]
    assert units.families[0] == units.families[1] != units.families[2]
    assert safe_actions(records, scored).tolist() == [5, 1, 2, 5]


def test_what_comes_after_the_first_unsafe_step_is_too_late(tmp_path: Path) -> None:
    records = read_records([write(tmp_path / "a.jsonl", record(1, 1))])
    units = whole_units(records, [Scored(records[0].sha256, (1, 3), (-4.0, 9.0))])
    assert units.margins.tolist() == [-4]
    units = whole_units(records, [Scored(records[0].sha256, (3,), (9.0,))])
    assert units.margins.tolist() == [-np.inf]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"contents": STEPS}, "record 1: label: expected 0"),
        (record(2), "label: expected 0"),
        (record(1.0), "label"),  # type: ignore[arg-type]
        (record(1, 0), "first_unsafe_step: expected the index of an agent step below 5"),
        (record(1, 9), "first_unsafe_step"),
        (record(1, "3"), "first_unsafe_step"),  # type: ignore[arg-type]
        (record(0, 3), "null for a safe record"),
    ],
)
def test_records_that_are_none(tmp_path: Path, value: object, text: str) -> None:
    with pytest.raises(TrajectoryError, match=text):
        read_records([write(tmp_path / "a.jsonl", value)])


def test_a_record_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrajectoryError, match="1 that are there twice"):
        read_records([write(tmp_path / "a.jsonl", record(0), record(0))])


def test_a_limit_takes_the_same_records_every_time(tmp_path: Path) -> None:
    values = [record(0, id=str(i)) for i in range(50)]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(json.dumps(v).encode() for v in values), mtime=0))
    names = [r.name for r in read_records([path], 9)]
    assert names == [r.name for r in read_records([path], 9)]
    assert len(set(names)) == 9
    assert names != [r.name for r in read_records([path])][:9]
