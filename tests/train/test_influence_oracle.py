"""Exact influence against dattri, which knows nothing of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepguard.train.examples import label_rows
from stepguard.train.influence.logistic import Logistic, exact_harms
from stepguard.train.influence.purify import owners_of
from stepguard.train.probes import fit
from tests.train.influence_data import planted

torch = pytest.importorskip("torch")
from dattri.algorithm.influence_function import (  # type: ignore[import-untyped] # noqa: E402
    IFAttributorExplicit,
)
from dattri.task import AttributionTask  # type: ignore[import-untyped] # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

torch.set_num_threads(1)
STRENGTH = 0.05


def padded(rows: Any, labels: Any, weights: Any, records: Any, count: int) -> Any:
    """A record each: float64 [count, most, d], [count, most], [count, most]; weight 0 is no row."""
    most = int(np.bincount(records, minlength=count).max())
    tables = (
        np.zeros((count, most, rows.shape[1])),
        np.zeros((count, most)),
        np.zeros((count, most)),
    )
    filled = np.zeros(count, np.int64)
    for index, record in enumerate(records):
        for table, values in zip(tables, (rows, labels, weights), strict=True):
            table[record, filled[record]] = values[index]
        filled[record] += 1
    return TensorDataset(*(torch.tensor(table) for table in tables))


def test_exact_influence_is_that_of_another_library() -> None:
    data, others = planted(8, 80), planted(9, 40, flips=0.0, name="t")
    examples, owners = label_rows(data.records, data.rows), owners_of(data.records, data.rows)
    goal, goal_owners = (
        label_rows(others.records, others.rows),
        owners_of(others.records, others.rows),
    )
    head = fit("logistic", examples, STRENGTH)
    count = len(data.records)
    found = Logistic.of(
        head, examples.features, examples.labels, examples.balanced, owners, count, STRENGTH
    )
    harms = exact_harms(found, found.target(head, goal.features, goal.labels, goal.weights))

    width = len(found.theta) - 1
    model = torch.nn.Linear(width, 1).double()
    state = {
        "weight": torch.tensor(found.theta[None, :-1]),
        "bias": torch.tensor(found.theta[-1:]),
    }

    def loss(params: Any, batch: Any) -> Any:
        rows, labels, weights = batch
        margins = torch.func.functional_call(model, params, rows[..., :-1]).squeeze(-1)
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            margins, labels, weights, reduction="sum"
        )
        # The penalty belongs to the objective, whose curvature it is part of, not to a record.
        whole = rows.ndim == 3 and rows.shape[0] == count
        return each + (params["weight"] ** 2).sum() / (2 * STRENGTH) * whole

    train = padded(found.features, found.labels, found.weights, owners, count)
    rows = (goal.features - head.mean) / head.scale
    rows = np.hstack([rows, np.ones((len(rows), 1))])
    test = padded(rows, goal.labels, goal.weights, goal_owners, len(others.records))
    oracle = IFAttributorExplicit(AttributionTask(loss, model, state), device="cpu")
    oracle.cache(DataLoader(train, batch_size=count))
    scores = oracle.attribute(DataLoader(train, batch_size=16), DataLoader(test, batch_size=40))
    # Theirs is for each record and target how much the record's weight lowers the target's loss.
    np.testing.assert_allclose(harms, -scores.sum(1).detach().numpy(), rtol=1e-6, atol=1e-7)
