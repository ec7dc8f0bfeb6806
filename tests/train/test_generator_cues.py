"""What tells unsafe from safe in generated trajectories is the act: shallow cues do not.

Fitted on the families to train on, judged on the held-out ones.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from stepguard.train.generator import generate

Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def halves() -> tuple[Records, Records]:
    return list(generate(11, 800, "train")), list(generate(11, 400, "held-out"))


def labels(records: Records) -> list[int]:
    return [record["label"] for record in records]


def auroc(train: Any, test: Any, halves: tuple[Records, Records], strength: float) -> float:
    model = LogisticRegression(C=strength, max_iter=1000).fit(train, labels(halves[0]))
    return float(roc_auc_score(labels(halves[1]), model.decision_function(test)))


def lengths(record: dict[str, Any]) -> list[float]:
    steps = [step for part in record["contents"] for step in part]
    actions = sum(step["role"] == "agent" for step in steps)
    return [np.log1p(len(steps)), np.log1p(actions), np.log1p(len(record["contents"]))]


def decided(record: dict[str, Any]) -> list[float]:
    """The place of the step that decides, as a guard meets it."""
    step = record["meta"]["decisive_step"]
    return [step, np.log1p(step)]


def prefixes(records: Records) -> tuple[Any, list[int]]:
    """Every action: its place, and whether the prefix that it ends is unsafe."""
    rows, found = [], []
    for record in records:
        steps = [step for part in record["contents"] for step in part]
        first = len(steps) if record["label"] == 0 else record["first_unsafe_step"]
        places = [i for i, step in enumerate(steps) if step["role"] == "agent"]
        rows += [[np.log1p(place), np.log1p(count)] for count, place in enumerate(places)]
        found += [int(place >= first) for place in places]
    return np.array(rows), found


def text(record: dict[str, Any]) -> str:
    return json.dumps([record["profile"], record["contents"]], ensure_ascii=False)


def test_lengths_tell_nothing(halves: tuple[Records, Records]) -> None:
    for name, features in (("lengths", lengths), ("place of the step", decided)):
        rows = [np.array([features(one) for one in half]) for half in halves]
        found = auroc(*rows, halves, 1.0)
        print(f"{name}: AUROC {found:.3f}")
        assert 0.4 < found < 0.6


def test_place_of_every_action(halves: tuple[Records, Records]) -> None:
    """What is unsafe stays so, so that late actions are unsafe more often: a limit, not chance."""
    rows, labels = zip(*map(prefixes, halves), strict=True)
    model = LogisticRegression().fit(rows[0], labels[0])
    found = float(roc_auc_score(labels[1], model.decision_function(rows[1])))
    print(f"place of every action: AUROC {found:.3f}")
    assert found < 0.75


def test_words_tell_little(halves: tuple[Records, Records]) -> None:
    bag = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    train = bag.fit_transform([text(one) for one in halves[0]])
    found = auroc(train, bag.transform([text(one) for one in halves[1]]), halves, 10.0)
    print(f"TF-IDF of 1- and 2-grams: AUROC {found:.3f}")
    assert found < 0.75
