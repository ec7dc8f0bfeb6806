"""Splits by family and by source, weights, and the overlap between splits."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from stepguard.errors import TrajectoryError
from stepguard.train.overlap import overlaps, without_overlap
from stepguard.train.splits import by_family, few_of_each_family, hold_out, weights
from tests.train.made import made_record

FAMILIES = [f"f{i}" for i in range(400)]


def words(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(10**6)}" for _ in range(count))


def test_a_family_is_in_one_split_whatever_else_there_is() -> None:
    records = [made_record(family=family) for family in FAMILIES for _ in range(2)]
    parts = by_family(records)
    assert sum(map(len, parts.values())) == len(records)
    names = {name: {record.family for record in part} for name, part in parts.items()}
    assert not names["train"] & names["test"]
    assert not names["train"] & names["dev"]
    assert 0.6 < len(names["train"]) / len(FAMILIES) < 0.8
    some = by_family(list(reversed(records[:300])))
    assert all({r.family for r in part} <= names[name] for name, part in some.items())


def test_shares_must_add_up() -> None:
    with pytest.raises(TrajectoryError, match="add up to 1"):
        by_family([], {"train": 0.5, "test": 0.4})


def test_holding_out_a_source() -> None:
    records = [made_record(source=source) for source in "aabc"]
    outside, inside = hold_out(records, "a")
    assert [record.source for record in outside] == ["b", "c"]
    assert inside == records[:2]
    with pytest.raises(TrajectoryError, match="source d"):
        hold_out(records, "d")
    with pytest.raises(TrajectoryError, match="source a"):
        hold_out(inside, "a")


def test_few_of_each_family_are_of_both_kinds() -> None:
    counts = {"both": (9, 9), "mostly safe": (9, 1), "unsafe": (0, 9), "small": (1, 1)}
    records = [
        made_record(family=family, unsafe=bool(unsafe))
        for family, numbers in counts.items()
        for unsafe, number in enumerate(numbers)
        for _ in range(number)
    ]
    chosen = few_of_each_family(records, 5)
    kinds = Counter((record.family, record.unsafe) for record in chosen)
    found = {family: (kinds[family, False], kinds[family, True]) for family in counts}
    assert found == {"both": (3, 2), "mostly safe": (4, 1), "unsafe": (0, 5), "small": (1, 1)}
    assert few_of_each_family(records[::-1], 5) == chosen[::-1]  # whatever their order
    with pytest.raises(TrajectoryError, match="1 or more"):
        few_of_each_family(records, 0)


def test_backdoor_records_count_less() -> None:
    records = [made_record(meta={"attack_style": "plan_backdoor"}), made_record(meta={})]
    assert weights(records).tolist() == [0.1, 1.0]
    assert weights(records, 0.0).tolist() == [0.0, 1.0]


def test_planted_overlaps_are_found() -> None:
    test = [made_record(words(100, 200)), made_record(words(101, 60)), made_record("too short")]
    training = [
        made_record(words(1, 200)),
        made_record(words(100, 200).upper().replace(" ", ", ")),  # the same words
        made_record(words(2, 500), words(101, 60), words(3, 500)),  # a short one inside a long one
        made_record(words(4, 150) + " " + " ".join(words(100, 200).split()[:40])),
        made_record("Too short!"),
        made_record(" ".join(words(100, 200).split()[:12]) + " " + words(5, 50)),  # 12 words: none
    ]
    (found,) = overlaps(training, {"test": test})
    assert found.over() == [1, 2, 4]
    assert found.worst.tolist() == [-1, 0, 1, 0, 2, -1]
    assert found.share[[0, 5]].tolist() == [0, 0]
    assert found.share[[1, 2, 4]].tolist() == [1, 1, 1]
    assert found.share[3] == pytest.approx((40 - 12) / (190 - 12))
    assert "test: 3 of 6" in found.line()
    assert without_overlap(training, {"test": test}) == [training[i] for i in (0, 3, 5)]
    assert without_overlap(training, {"test": test}, threshold=0.1) == [training[i] for i in (0, 5)]


def test_overlap_agrees_with_sets() -> None:
    draw = random.Random(7)
    texts = [" ".join(draw.choice("abc") for _ in range(40)) for _ in range(30)]
    records = [made_record(text) for text in texts]
    (found,) = overlaps(records[:20], {"test": records[20:]}, words=4)
    sets = [{tuple(t.split()[i : i + 4]) for i in range(37)} for t in texts]
    expected = [
        max(len(a & b) / min(len(a), len(b)) for b in sets[20:]) for a in sets[:20]
    ]  # fmt: skip
    np.testing.assert_allclose(found.share, expected)
    assert 0 < min(expected) < max(expected) < 1


def test_nothing_to_compare_with() -> None:
    (found,) = overlaps([made_record("a b")], {"none": []})
    assert found.over() == []
    assert found.worst.tolist() == [-1]
    (found,) = overlaps([], {"some": [made_record("a b")]})
    assert found.line().startswith("some: 0 of 0")
