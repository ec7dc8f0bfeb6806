"""stepguard bench pairs: an unsafe trajectory against its safe twin."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stepguard import Guard
from stepguard.bench.pairs import find_pairs, margins_of, rate_of
from stepguard.cli import main
from stepguard.errors import TrajectoryError
from stepguard.train import Record, read_records
from stepguard.train.generator import write
from stepguard.train.scores import Scored, score_records


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "held-out.jsonl"
    write(path, seed=3, count=12, split="held-out")
    return path


@pytest.fixture(scope="module")
def records(data: Path) -> list[Record]:
    return read_records([data])


def planted(record: Record, act: float, other: float, lost: str = "") -> Scored:
    """Margins of every action: `act` at the decisive one."""
    steps = [i for i, step in enumerate(record.trajectory.steps) if step.is_action]
    decisive = record.meta["decisive_step"]
    margins = tuple(act if step == decisive else other for step in steps)
    return Scored(record.sha256, tuple(steps), margins, lost)


def test_the_act_and_the_whole_are_told_apart(records: list[Record]) -> None:
    pairs = find_pairs(records)
    assert len(pairs) == 6
    assert all(pair.unsafe.meta["twin"] == pair.safe.name for pair in pairs)
    assert all(pair.acts[0] == pair.unsafe.first_unsafe for pair in pairs)
    # The unsafe act is above the safe one, but something else in the safe twin above both.
    scored = {pair.unsafe.sha256: planted(pair.unsafe, 2.0, 0.0) for pair in pairs}
    scored |= {pair.safe.sha256: planted(pair.safe, 1.0, 9.0) for pair in pairs}
    act, whole = margins_of(pairs, scored)
    assert act.tolist() == [[2.0, 1.0]] * 6
    assert whole.tolist() == [[2.0, 9.0]] * 6
    assert rate_of(pairs, act).rate == 1.0
    assert rate_of(pairs, whole).rate == 0.0


def test_ties_are_not_right_and_what_was_not_read_does_not_count(records: list[Record]) -> None:
    pairs = find_pairs(records)
    margins = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [np.nan, 0.0], [1.0, 0.0], [1.0, 0.0]])
    found = rate_of(pairs, margins)
    assert (found.right, found.of, found.rate) == (3, 5, 0.6)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= 0.6 <= found.high <= 1
    nothing = rate_of(pairs, np.full((6, 2), np.nan))
    assert (nothing.right, nothing.of, nothing.low) == (0, 0, None)


def test_one_that_was_not_read_to_its_end_has_no_whole(records: list[Record]) -> None:
    pairs = find_pairs(records)
    scored = {record.sha256: planted(record, 1.0, 0.0) for record in records}
    scored[pairs[0].safe.sha256] = planted(pairs[0].safe, 1.0, 0.0, lost="overflow: too long")
    act, whole = margins_of(pairs, scored)
    assert np.isnan(whole[0]).tolist() == [False, True]
    assert not np.isnan(act).any()


def test_the_interval_is_one_over_families(records: list[Record]) -> None:
    """Pairs of one family say the same thing often: they are no more than one family."""
    (pair, *_) = find_pairs(records)
    found = rate_of([pair] * 50, np.tile([1.0, 0.0], (50, 1)))
    assert (found.rate, found.low, found.high) == (1.0, None, None)


def test_records_without_twins_are_refused(records: list[Record]) -> None:
    alone = [record for record in records if record.unsafe]
    with pytest.raises(TrajectoryError, match="safe twin"):
        find_pairs(alone)
    with pytest.raises(TrajectoryError, match="unsafe records with their twins"):
        find_pairs([record for record in records if not record.unsafe])


def test_the_command_counts_what_the_guard_says(
    data: Path, records: list[Record], tiny_guards: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "pairs.json"
    guard = tiny_guards["int8"]
    assert main(["bench", "pairs", str(guard), str(data), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    pairs = find_pairs(records)
    with Guard.load(guard, save_prefix=False) as opened:
        scored = score_records(opened, records)
    at = {one.sha256: dict(zip(one.steps, one.margins, strict=True)) for one in scored}
    read = [
        [at[record.sha256].get(act) for record, act in zip((p.unsafe, p.safe), p.acts, strict=True)]
        for p in pairs
    ]
    known = [(u, s) for u, s in read if u is not None and s is not None]
    assert (report["pairs"], report["families"]) == (6, len({p.unsafe.family for p in pairs}))
    assert report["act"]["of"] == len(known)
    assert report["act"]["right"] == sum(u > s for u, s in known)
    assert report["command"] == "stepguard bench pairs int8 held-out.jsonl"
