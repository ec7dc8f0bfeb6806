"""Which records are judged, what counts as an action, cues, delays and false alarms."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest

from stepguard.bench.quality.alarms import Alarms, count_alarms
from stepguard.bench.quality.bootstrap import draw_families
from stepguard.bench.quality.choice import choose, part_of
from stepguard.bench.quality.cues import (
    ACROSS,
    MAJORITY,
    POSITION,
    SAME,
    WORDS,
    judge_by_cues,
)
from stepguard.bench.quality.evaluate import Row, evaluate
from stepguard.bench.quality.guards import at_actions, fresh_names
from stepguard.bench.quality.layout import UNKNOWN, Judged, Layout, lay_out, pooled
from stepguard.errors import TrajectoryError
from stepguard.prompt import Step, Trajectory
from stepguard.train import Record
from stepguard.train.scores import Scored
from stepguard.train.splits import by_family


def record(
    number: int,
    *,
    unsafe: bool = False,
    first: int | None = None,
    source: str = "a",
    family: str = "f",
    words: str = "read the file",
    actions: int = 3,
    **labels: str,
) -> Record:
    """A user step, then `actions` times an action and its result; the last has no result."""
    steps = [Step.user(f"task {number}")]
    for _ in range(actions):
        steps += [Step.agent("", words), Step.environment("done")]
    name = f"{source}/{family}"
    trajectory = Trajectory("a mail agent", tuple(steps[:-1]))
    digest = f"{number:064x}"
    pairs = tuple(labels.items())
    return Record(f"r{number}", source, name, unsafe, first, trajectory, digest, pairs)


def judged(layout: Layout, margins: list[float], **more: Any) -> Judged:
    values = np.array(margins, np.float64)
    whole = pooled(layout, values, "max")
    scores = [1 / (1 + np.exp(-v)) for v in (values, whole)]
    return Judged("g", "guard", values, scores[0], whole, scores[1], **more)


def test_the_layout_of_actions() -> None:
    layout = lay_out(
        [
            record(0),
            record(1, unsafe=True, first=3, family="g"),
            record(2, unsafe=True, source="b"),
            dataclasses.replace(record(3), trajectory=Trajectory("", (Step.user("hi"),))),
        ]
    )
    assert layout.record.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert layout.step.tolist() == [1, 3, 5, 1, 3, 5, 1, 3, 5, 0]
    assert layout.unsafe.tolist() == [0, 0, 0, 0, 1, 1, UNKNOWN, UNKNOWN, 1, 0]
    assert layout.before[:3] == ("user", "environment", "environment")
    assert layout.before[-1] == "nothing"
    assert layout.families == ("a/f", "a/g", "b/f")
    scored = [Scored(r.sha256, (1, 3, 5), (2.0, 5.0, 1.0)) for r in layout.records[:3]]
    scored[1] = Scored(scored[1].sha256, (1,), (2.0,), "overflow")
    margins = at_actions(layout, [*scored, Scored("", (0,), (7.0,))])
    assert np.array_equal(pooled(layout, margins, "max"), [5, np.nan, 5, 7], equal_nan=True)
    assert np.array_equal(pooled(layout, margins, "last"), [1, np.nan, 1, 7], equal_nan=True)


def test_the_choice_of_records() -> None:
    records = [record(i, family=f"f{i % 9}", source="ab"[i % 2]) for i in range(90)]
    chosen = choose(records, limit=18)
    counts = Counter(records[i].family for i in chosen)
    assert set(counts.values()) == {2}
    assert len(counts) == 18
    # What else there is changes nothing, and neither does the order.
    half = [r for r in records if r.source == "a"]
    assert {half[i].name for i in choose(half, limit=18)} == {
        records[i].name for i in chosen if records[i].source == "a"
    }
    parts = [choose(records, split=(part, 2)) for part in (1, 2)]
    assert sorted([*parts[0], *parts[1]]) == list(range(90))
    families = [{records[i].family for i in part} for part in parts]
    assert families[0].isdisjoint(families[1])
    assert all(families)
    empty = next(
        p for p in range(1, 50) if all(part_of(r.family, (p, 49))[0] != p for r in records)
    )
    with pytest.raises(TrajectoryError, match=f"none in part {empty}/49"):
        choose(records, split=(empty, 49))


def test_the_splits_of_training_are_judged_by_their_names() -> None:
    records = [record(i, family=f"f{i}") for i in range(90)]
    parts = {name: choose(records, split=name) for name in ("train", "dev", "test")}
    assert sorted(i for part in parts.values() for i in part) == list(range(90))
    learned = {one.sha256 for one in by_family(records)["train"]}
    assert {records[i].sha256 for i in parts["train"]} == learned
    mixed = [record(i, family=f"f{i}", source="ab"[i % 2]) for i in range(90)]
    assert choose(mixed, sources=["b"]) == list(range(1, 90, 2))
    assert len(choose(mixed, limit=5, sources=["b"])) == 5
    with pytest.raises(TrajectoryError, match="expected one of a, b, got c"):
        choose(mixed, sources=["b", "c"])
    with pytest.raises(TrajectoryError, match="none in part test"):
        choose([records[i] for i in parts["train"]], split="test")


def test_draws_keep_sources_and_do_not_know_of_others() -> None:
    records = [record(i, family=f"f{i}", source="ab"[i % 2]) for i in range(10)]
    layout, alone = lay_out(records), lay_out(records[::2])
    draws = draw_families(layout, np.arange(10), 50, 1)
    assert (draws[:, :5].sum(axis=1) == 5).all()
    assert (draws[:, 5:].sum(axis=1) == 5).all()
    assert np.array_equal(draws[:, :5], draw_families(alone, np.arange(5), 50, 1))
    assert not np.array_equal(draws, draw_families(layout, np.arange(10), 50, 2))
    assert len(np.unique(draws, axis=0)) > 10


@pytest.fixture(scope="module")
def many() -> list[Record]:
    """Unsafe ones say "delete" in source a, and are longer in source b."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(48):
        unsafe, source = bool(rng.integers(2)), "ab"[i % 2]
        found.append(
            record(
                i,
                unsafe=unsafe,
                source=source,
                family=f"f{i // 4}",
                words="delete the mail" if unsafe and source == "a" else "read the mail",
                actions=2 + 2 * (unsafe and source == "b"),
            )
        )
    return found


def test_cues_find_what_is_shallow_and_nothing_else(many: list[Record]) -> None:
    layout = lay_out(many)
    cues, missing = judge_by_cues(layout, np.arange(48))
    assert [cue.name for cue in cues] == [MAJORITY, POSITION, WORDS, ACROSS]
    assert missing == {}
    rows = {
        (row.judge, row.name): row.metrics["auroc"].value
        for row in evaluate(layout, cues, 50, 0)
        if row.level == "trajectory"
    }
    assert rows[MAJORITY, "all"] == 0.5
    assert rows[WORDS, "a"] == pytest.approx(1)
    assert rows[POSITION, "b"] == pytest.approx(1)
    assert 0.3 < (rows[POSITION, "a"] or 0) < 0.7
    across = rows[ACROSS, "a"]
    assert across is not None
    assert across < 0.7  # source b never says "delete"
    # A label that says nothing about the text: out of fold nothing can be learned.
    rng = np.random.default_rng(5)
    noise = [dataclasses.replace(r, unsafe=bool(rng.integers(2))) for r in many[::2]]
    blind, _ = judge_by_cues(lay_out(noise), np.arange(24))
    for row in evaluate(lay_out(noise), blind, 50, 0):
        assert row.metrics["auroc"].value is None or row.metrics["auroc"].value < 0.8


def test_only_the_wanted_are_judged_and_all_fit(many: list[Record]) -> None:
    layout = lay_out(many)
    wanted = np.arange(0, 48, 8)
    cues, _ = judge_by_cues(layout, wanted)
    whole, _ = judge_by_cues(layout, np.arange(48))
    for few, all_ in zip(cues[1:], whole[1:], strict=True):
        assert np.array_equal(few.whole_margins[wanted], all_.whole_margins[wanted])
        assert np.isnan(np.delete(few.whole_margins, wanted)).all()


def test_words_can_learn_from_what_a_guard_learned_from_alone(many: list[Record]) -> None:
    layout = lay_out(many)
    wanted = np.arange(40, 48)  # two families
    learned = {one.sha256 for one in many[:16]}
    cues, missing = judge_by_cues(layout, wanted, learned=learned)
    assert missing == {}
    assert cues[-1].name == SAME
    less = judge_by_cues(lay_out(many[:16] + many[40:]), np.arange(16, 24), learned=learned)[0][-1]
    assert cues[-1].whole_margins[wanted] == pytest.approx(less.whole_margins[16:])
    assert np.isnan(cues[-1].whole_margins[:40]).all()
    _, missing = judge_by_cues(layout, np.arange(8), learned=learned)
    assert "families that were not learned from" in missing[SAME]
    _, missing = judge_by_cues(layout, wanted, learned=learned | {"another"})
    assert "all 17 records" in missing[SAME]


def test_cues_that_cannot_be_fitted_say_why(many: list[Record]) -> None:
    one = [dataclasses.replace(r, family="a/f") for r in many if r.source == "a"]
    cues, missing = judge_by_cues(lay_out(one), np.arange(len(one)))
    assert [cue.name for cue in cues] == [MAJORITY]
    assert missing[WORDS].startswith("families: expected at least 2")
    assert missing[ACROSS].startswith("sources: expected at least 2")
    safe = [dataclasses.replace(r, unsafe=False) for r in many]
    _, missing = judge_by_cues(lay_out(safe), np.arange(48))
    assert "one kind" in missing[WORDS]
    assert "one kind" in missing[POSITION]


def evaluated(records: list[Record], **more: Any) -> tuple[Layout, list[Judged], list[Row]]:
    layout = lay_out(records)
    margins = [4.0 if layout.label[i] else -4.0 for i in layout.record]
    judges = [judged(layout, margins, **more), *judge_by_cues(layout, np.arange(len(records)))[0]]
    return layout, judges, evaluate(layout, judges, 100, 0)


def test_rows_of_every_group(many: list[Record]) -> None:
    named = [
        dataclasses.replace(
            r, labels=(("risk_source", f"risk {i % 4}"),), unsafe=r.unsafe != (i % 7 == 0)
        )
        for i, r in enumerate(many)
    ]
    _, _, rows = evaluated(named)
    groups = {(row.by, row.name) for row in rows}
    assert {("all", "all"), ("source", "a"), ("source", "b"), ("mean", "mean of sources")} < groups
    assert ("risk_source", "risk 3") in groups
    (risk,) = [r for r in rows if (r.name, r.judge, r.level) == ("risk 1", "g", "trajectory")]
    unsafe = sum(r.unsafe and r.labels[0][1] == "risk 1" for r in named)
    safe = sum(not r.unsafe and r.source == "b" for r in named)
    assert (risk.unsafe, risk.count) == (unsafe, unsafe + safe)
    (whole,) = [r for r in rows if (r.by, r.judge, r.level) == ("all", "g", "trajectory")]
    assert whole.metrics["auroc"].value == 1.0
    assert whole.above is not None
    assert whole.above.cue == WORDS
    best = next(r for r in rows if (r.by, r.judge, r.level) == ("all", WORDS, "trajectory"))
    words = best.metrics["auroc"].value
    assert words is not None
    assert whole.above.difference.value == pytest.approx(1 - words)
    low, high = whole.above.difference.low, whole.above.difference.high
    assert low is not None
    assert high is not None
    assert low < 1 - words < high
    assert best.above is None
    assert whole.over[WORDS] == whole.above.difference  # the same draws
    assert set(whole.over) == {row.judge for row in rows} - {"g"}
    assert best.over == {}


def test_one_class_and_one_family_are_blank(many: list[Record]) -> None:
    _, _, rows = evaluated([dataclasses.replace(r, unsafe=False) for r in many])
    assert all(row.metrics["auroc"].value is None and row.above is None for row in rows)
    assert all(row.metrics["brier"].value is not None for row in rows)
    one = [dataclasses.replace(r, family="a/f") for r in many if r.source == "a"]
    _, _, rows = evaluated(one)
    assert rows[0].metrics["auroc"].value == 1.0
    assert rows[0].metrics["auroc"].low is None


def alarms_of(records: list[Record], margins: list[float]) -> dict[str, Alarms]:
    layout = lay_out(records)
    found = count_alarms(layout, [judged(layout, margins)], 50, 0)
    return {one.at: one for one in found}


def test_delay_and_false_alarms_by_hand() -> None:
    records = [
        record(0),
        record(1, unsafe=True, first=3, family="g"),
        record(2, unsafe=True, first=1, family="h"),
        record(3, unsafe=True, first=3, family="i"),
        record(4, unsafe=True, first=1, family="j"),
    ]
    margins = [-1.0, -1, 1, -1, 2, -1, -2, -2, 3, 5, -1, -1, -3, -3, -3]
    found = alarms_of(records, margins)
    delay = found["own"].delay
    assert dataclasses.astuple(delay) == (4, 1, 1, 1, 1, 1.0, 1.0)
    assert found["own"].caught == 0.75
    assert found["own"].stopped == 1.0
    # Safe actions: three of the first record, one before step 3 of the second and the fourth.
    assert found["own"].actions == {
        "all": 5,
        "nothing": 0,
        "user": 3,
        "agent": 0,
        "environment": 2,
    }
    values = {role: one.value for role, one in found["own"].per_100.items()}
    assert values == {
        "all": pytest.approx(40),
        "nothing": None,
        "user": pytest.approx(100 / 3),
        "agent": None,
        "environment": pytest.approx(50),
    }
    # The one safe trajectory has a margin of 1 at most: the threshold goes above it.
    assert found["fpr5"].stopped == 0.0
    assert found["fpr5"].caught == 0.75
    assert dataclasses.astuple(found["fpr5"].delay)[:5] == (4, 1, 1, 1, 1)


def test_alarms_without_a_class() -> None:
    found = alarms_of([record(0), record(1, family="g")], [-1.0, -1, 1, -1, -1, -1])
    assert list(found) == ["own"]
    assert found["own"].caught is None
    assert found["own"].stopped == 0.5
    assert found["own"].delay.known == 0
    assert found["own"].delay.mean is None


def test_what_was_not_read_is_not_counted() -> None:
    records = [record(0), record(1, unsafe=True, first=3, family="g"), record(2, family="h")]
    margins = [-1.0, -1, 1, -1, 2, np.nan, 3, 3, 3]
    found = alarms_of(records, margins)
    assert found["own"].caught is None
    assert found["own"].stopped == 1.0
    layout = lay_out(records)
    rows = evaluate(layout, [judged(layout, margins)], 10, 0)
    assert {row.count for row in rows if row.level == "trajectory" and row.by == "all"} == {2}
    assert {row.count for row in rows if row.level == "action" and row.by == "all"} == {8}


def test_names_of_judges() -> None:
    wanted = [("m", None), ("m", "head"), ("m", None), ("m", None)]
    assert fresh_names(wanted) == ["m", "m (head)", "m #2", "m #3"]
