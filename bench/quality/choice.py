"""Which records are judged: whole families, and of those as many as wanted."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from stepguard.errors import TrajectoryError
from stepguard.train import Record
from stepguard.train.splits import by_family

# Which part (from 1 on), of how many; or a name of train/splits.py.
Part = tuple[int, int]
Split = Part | str


def choose(
    records: Sequence[Record],
    limit: int | None = None,
    split: Split | None = None,
    sources: Sequence[str] = (),
) -> list[int]:
    """Indices of the chosen records, in their order; the same whatever other records there are.

    split: (part, parts); a family belongs to the part that the SHA-256 of its name says, with
    all of its records. Or train, dev, test: as `stepguard train check` counts them. limit: at
    most so many of each source: of every family the record with the lowest SHA-256, then of
    every family the second one, and so on.

    sources: only these; none means all.

    Raises:
        TrajectoryError: no record is left, or none is of a source.
    """
    for source in sources:
        if all(record.source != source for record in records):
            there = ", ".join(sorted({record.source for record in records}))
            raise TrajectoryError("--source", expected=f"one of {there}", got=source)
    kept = _of_split(records, split)
    kept = [i for i in kept if not sources or records[i].source in sources]
    if limit is not None:
        kept = [i for source in _by_source(records, kept) for i in _rounds(records, source)[:limit]]
    if not kept:
        got = "none" if split is None else f"none in part {name_of(split)}"
        raise TrajectoryError("records", expected="at least one to judge", got=got)
    return sorted(kept)


def name_of(split: Split) -> str:
    """As it is typed."""
    return split if isinstance(split, str) else f"{split[0]}/{split[1]}"


def _of_split(records: Sequence[Record], split: Split | None) -> list[int]:
    if isinstance(split, str):
        families = {record.family for record in by_family(records)[split]}
        return [i for i, record in enumerate(records) if record.family in families]
    every = enumerate(records)
    return [i for i, r in every if split is None or part_of(r.family, split) == split]


def part_of(family: str, split: Part) -> Part:
    """The part that a family belongs to, out of as many as `split` has."""
    digest = hashlib.sha256(family.encode("utf-8", "surrogatepass")).hexdigest()
    return int(digest, 16) % split[1] + 1, split[1]


def _by_source(records: Sequence[Record], kept: Sequence[int]) -> list[list[int]]:
    sources: dict[str, list[int]] = defaultdict(list)
    for i in kept:
        sources[records[i].source].append(i)
    return list(sources.values())


def _rounds(records: Sequence[Record], kept: Sequence[int]) -> list[int]:
    """One of each family, then the next one of each, families and records ordered by hash."""
    seen: dict[str, int] = defaultdict(int)
    keyed = []
    for i in sorted(kept, key=lambda i: records[i].sha256):
        family = records[i].family
        keyed.append((seen[family], hashlib.sha256(family.encode("utf-8", "surrogatepass")), i))
        seen[family] += 1
    return [i for _, _, i in sorted(keyed, key=lambda key: (key[0], key[1].hexdigest(), key[2]))]
