"""Records in the order of the harm that they do to an adapter, and what that order is worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from stepguard.errors import TrainingError
from stepguard.train.influence.adapter import AdapterGradients, Direction, Traced
from stepguard.train.kept import Kept, Progress
from stepguard.train.lora.adapter import WEIGHTS
from stepguard.train.lora.base import Base
from stepguard.train.lora.rows import Packed, Packer
from stepguard.train.lora.scoring import settings_of
from stepguard.train.lora.settings import Settings
from stepguard.train.lora.store import run_of
from stepguard.train.records import Record, digest_of

BY = ("preference", "loss")  # the first orders the list


def trace_records(
    base: Base,
    checkpoint: Path,
    records: Sequence[Record],
    targets: Sequence[Record],
    beside: int = 1,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """All records that have a labelled prefix, the most harmful first: rank, name, sha256, source,
    family, label, and harms by the names in BY. Prefixes and context are those of the run.

    beside: records that are read side by side; kept: a file to go on from; progress: called with
    records done and to do, of the targets first.

    Raises:
        TrainingError: the checkpoint is of no run on this base with this prompt, a number is not
            finite, or neither records nor targets have a labelled prefix.
    """
    run = checkpoint.parent
    settings = settings_of(run)
    _check_run(base, run)
    packer = Packer(base.encoder, base.labels, None, settings.context, settings.prefixes)
    packed = {one.record.sha256: one for one in map(packer.pack, records) if one.rows}
    goal = [one for one in map(packer.pack, targets) if one.rows]
    for name, found in (("records", packed), ("targets", goal)):
        if not found:
            raise TrainingError(name, expected="labelled actions", got="none")
    gradients = AdapterGradients(base, settings, checkpoint, beside)
    direction: list[Direction] = []  # nothing is computed where all is kept

    def read(part: Sequence[Record]) -> list[Traced]:
        if not direction:
            direction.append(gradients.direction(goal, progress))
        return gradients.trace([packed[record.sha256] for record in part], direction[0])

    key = _key(base, checkpoint, settings, records, goal)
    keeper = Kept("harms", kept, key, Traced.to_dict, _traced)
    asked = [record for record in records if record.sha256 in packed]
    traced = keeper.all_of(asked, read, progress)
    order = sorted(zip(asked, traced, strict=True), key=lambda pair: -pair[1].harm)
    return [_ranked(rank, *pair) for rank, pair in enumerate(order, start=1)]


def turn_labels(
    records: Sequence[Record], share: float, seed: int
) -> tuple[list[Record], frozenset[str]]:
    """The records, a share of those that act with the other label; and the hashes of those. A safe
    record that becomes unsafe is so as a whole: no step of it is known to be.

    Raises:
        TrainingError: the share is not between 0 and 1, or of so few records none or all.
    """
    able = [one for one in records if any(step.is_action for step in one.trajectory.steps)]
    count = round(share * len(able)) if 0 < share < 1 else 0
    if not 0 < count < len(able):
        expected = "a share between 0 and 1 that is one record at least, and not all"
        raise TrainingError("plant", expected=expected, got=f"{share} of {len(able)} with actions")
    draws = np.random.default_rng(seed).permutation(len(able))[:count]
    turned = frozenset(able[int(place)].sha256 for place in draws)
    changed = [
        replace(one, unsafe=not one.unsafe, first_unsafe=None) if one.sha256 in turned else one
        for one in records
    ]
    return changed, turned


def measure_planted(
    ranked: Sequence[Mapping[str, Any]], turned: frozenset[str]
) -> dict[str, dict[str, float]]:
    """By the names in BY: of the k worst records the share that was turned, k being their number,
    and the AUROC. Raises TrainingError where all records, or none, are turned ones."""
    wrong = np.array([one["sha256"] in turned for one in ranked])
    if wrong.all() or not wrong.any():
        got = f"{wrong.sum()} of {len(wrong)}"
        raise TrainingError("plant", expected="turned records among others", got=got)
    found = {}
    for name in BY:
        harms = np.array([one["harms"][name] for one in ranked])
        worst = np.argsort(-harms, kind="stable")[: wrong.sum()]
        area = float(roc_auc_score(wrong, harms))
        found[name] = {"precision": float(wrong[worst].mean()), "auroc": area}
    return found


def _check_run(base: Base, run: Path) -> None:
    found, own = run_of(run), {"base_sha256": base.sha256, "prompt": base.encoder.prompt.asked}
    for name, value in own.items():
        if found.get(name) != value:
            raise TrainingError(
                str(run),
                expected=f"a run with {name} {value}",
                got=str(found.get(name)),
                fix="Give the base and the prompt options of the training.",
            )


def _key(
    base: Base,
    checkpoint: Path,
    settings: Settings,
    records: Sequence[Record],
    goal: Sequence[Packed],
) -> dict[str, str]:
    labels = "".join(sorted(f"{one.sha256}{one.unsafe}" for one in records))
    return {
        "base": base.sha256,
        "prompt": base.encoder.prompt.asked,
        "settings": json.dumps(settings.to_dict(), sort_keys=True),
        "adapter": hashlib.sha256((checkpoint / WEIGHTS).read_bytes()).hexdigest(),
        "targets": digest_of([one.record for one in goal]),
        "labels": hashlib.sha256(labels.encode()).hexdigest(),
    }


def _traced(value: dict[str, Any]) -> Traced:
    return Traced(value["sha256"], float(value["harm"]), float(value["loss"]))


def _ranked(rank: int, record: Record, traced: Traced) -> dict[str, Any]:
    return {
        "rank": rank,
        "name": record.name,
        "sha256": record.sha256,
        "source": record.source,
        "family": record.family,
        "label": int(record.unsafe),
        "harms": dict(zip(BY, (traced.harm, traced.loss), strict=True)),
    }
