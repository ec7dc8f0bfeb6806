"""What purification is worth: planted flips are found, and a head without them is better."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from stepguard.train.examples import Examples, label_rows
from stepguard.train.influence import METHODS
from stepguard.train.influence.purify import harms_of, owners_of
from stepguard.train.probes import fit
from tests.train.influence_data import Planted, planted

SEEDS = range(5)
COUNT, FLIPS = 240, 0.1
STRENGTH = 0.01  # near the one that is chosen on held-out families


def examples_of(data: Planted) -> tuple[Examples, np.ndarray]:
    return label_rows(data.records, data.rows), owners_of(data.records, data.rows)


def found_by(data: Planted, harms: np.ndarray) -> tuple[float, float]:
    """(precision among the k worst, k the number of flips; AUROC)."""
    worst = np.argsort(-harms)[: data.wrong.sum()]
    return float(data.wrong[worst].mean()), float(roc_auc_score(data.wrong, harms))


@pytest.mark.slow
@pytest.mark.parametrize("clean", [False, True])
def test_planted_flips_are_found(clean: bool) -> None:
    """Against targets that are wrong as often as the records themselves, and against clean ones."""
    table: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    for seed in SEEDS:
        data, other = planted(seed, COUNT, FLIPS), planted(100 + seed, COUNT, 0.0, "t")
        goal = examples_of(other)[0] if clean else None
        harms = harms_of(*examples_of(data), COUNT, STRENGTH, goal)
        for name in METHODS:
            table[name].append(found_by(data, harms[name]))
    means = {name: np.mean(values, 0) for name, values in table.items()}
    for name, (precision, area) in means.items():
        print(f"{name:<12} precision@{round(COUNT * FLIPS)} {precision:.3f}  AUROC {area:.3f}")
    for name in ("exact", "datainf", "preference"):
        assert means[name][0] > 3 * FLIPS, name  # chance finds one in ten
        assert means[name][0] > means["loss"][0], name
        assert means[name][1] > 0.75, name
        assert means[name][1] > means["loss"][1] + 0.05, name


@pytest.mark.slow
def test_of_a_head_that_learned_its_wrong_labels_the_preference_says_most() -> None:
    """A weak penalty: the targets that are wrong have the largest losses and mislead the others."""
    table: dict[str, list[float]] = {name: [] for name in METHODS}
    for seed in SEEDS:
        data = planted(seed, COUNT, FLIPS)
        harms = harms_of(*examples_of(data), COUNT, 0.3, None)
        for name in METHODS:
            table[name].append(found_by(data, harms[name])[1])
    means = {name: float(np.mean(values)) for name, values in table.items()}
    print({name: round(value, 3) for name, value in means.items()})
    assert means["preference"] > max(means["exact"], means["datainf"]) + 0.05
    assert means["preference"] > means["loss"]


@pytest.mark.slow
def test_a_head_without_the_worst_is_better() -> None:
    """On clean records: without the k worst, without k at random, and with all."""
    clean = label_rows(*(lambda d: (d.records, d.rows))(planted(77, 400, 0.0, "t")))
    gains = []
    for seed in SEEDS:
        data = planted(seed, COUNT, FLIPS)
        examples, owners = examples_of(data)
        harms = harms_of(examples, owners, COUNT, STRENGTH, None)["preference"]
        count = int(data.wrong.sum())
        chosen = {
            "all": np.array([], np.int64),
            "worst": np.argsort(-harms)[:count],
            "random": np.random.default_rng(seed).permutation(COUNT)[:count],
        }
        losses = {}
        for name, left_out in chosen.items():
            head = fit("logistic", examples.at(~np.isin(owners, left_out)), STRENGTH)
            margins = head.outputs(clean.features)[:, 0]
            chances = 1 / (1 + np.exp(-margins))
            losses[name] = log_loss(clean.labels, chances, sample_weight=clean.weights)
        print(seed, {name: round(value, 4) for name, value in losses.items()})
        gains.append(losses["random"] - losses["worst"])
    error = np.std(gains, ddof=1) / np.sqrt(len(gains))
    print(f"log loss lower by {np.mean(gains):.4f} (se {error:.4f})")
    assert np.mean(gains) > 3 * error
    assert min(gains) > 0
