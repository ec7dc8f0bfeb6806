"""Which records are trained on, and how much each counts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from stepguard.errors import TrajectoryError
from stepguard.train.points import Floats
from stepguard.train.records import Record

SHARES: Mapping[str, float] = {"train": 0.7, "dev": 0.15, "test": 0.15}
BACKDOOR_WEIGHT = 0.1
_BACKDOOR = "plan_backdoor"  # a trigger phrase that stands in unsafe records only


def by_family(
    records: Sequence[Record], shares: Mapping[str, float] = SHARES
) -> dict[str, list[Record]]:
    """Split name -> records. A family is in one split, which the SHA-256 of its name decides: it
    does not matter which other records there are, nor in which order.

    Raises:
        TrajectoryError: the shares do not add up to 1.
    """
    if any(share <= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        expected = "positive shares that add up to 1"
        raise TrajectoryError("shares of the splits", expected=expected, got=str(dict(shares)))
    found: dict[str, list[Record]] = {name: [] for name in shares}
    for record in records:
        found[_split_of(record.family, shares)].append(record)
    return found


def hold_out(records: Sequence[Record], source: str) -> tuple[list[Record], list[Record]]:
    """All other sources, and this one.

    Raises:
        TrajectoryError: no record is of this source, or all are.
    """
    inside = [record for record in records if record.source == source]
    outside = [record for record in records if record.source != source]
    if not inside or not outside:
        names = ", ".join(sorted({record.source for record in records}))
        expected = "one of several sources"
        raise TrajectoryError(f"source {source}", expected=expected, got=names or "no record")
    return outside, inside


def few_of_each_family(records: Sequence[Record], most: int) -> list[Record]:
    """At most `most` records of each family, half of them safe where there are so many: those of
    the smallest SHA-256, in the order of `records`. A family of hundreds costs what others do.

    Raises:
        TrajectoryError: most is below 1.
    """
    if most < 1:
        raise TrajectoryError("records of a family", expected="1 or more", got=str(most))
    kinds: dict[str, tuple[list[str], list[str]]] = {}
    for record in records:
        kinds.setdefault(record.family, ([], []))[record.unsafe].append(record.sha256)
    chosen: set[str] = set()
    for safe, unsafe in kinds.values():
        of_safe = max((most + 1) // 2, most - len(unsafe))
        chosen.update(sorted(safe)[:of_safe])
        chosen.update(sorted(unsafe)[: most - min(of_safe, len(safe))])
    return [record for record in records if record.sha256 in chosen]


def weights(records: Sequence[Record], backdoor: float = BACKDOOR_WEIGHT) -> Floats:
    """float64 [records]: 1, but `backdoor` for records of the attack style `plan_backdoor`: they
    are many, all unsafe, and told by a phrase."""
    down = [record.meta.get("attack_style") == _BACKDOOR for record in records]
    return np.where(down, backdoor, 1.0)


def _split_of(family: str, shares: Mapping[str, float]) -> str:
    digest = hashlib.sha256(f"split:{family}".encode("utf-8", "surrogatepass")).digest()
    place, begin = int.from_bytes(digest[:8], "big") / 2**64, 0.0
    for name, share in shares.items():
        begin += share
        if place < begin:
            return name
    return name
