"""Every operation of a shape with every kernel table of this CPU: checked, then timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stepguard.bench.peaks import Peaks
from stepguard.bench.work import Op, Work
from stepguard.errors import StepguardError
from stepguard.runtime import _core

Progress = Callable[[int, int], None]
# Largest difference from the reference, by the root mean square of what it answers. Kernels are
# tested far closer than that; here it tells a kernel that computes something else.
ALLOWED = 1e-3


@dataclass(frozen=True)
class Timing:
    """One operation with one table. error: as `ALLOWED`. work: what it has to do at least.

    bytes: of weights, pages, states and rows. share: of the speed that the peaks allow; None where
    no peak was measured. bound: by which of them, "memory" or a kind of arithmetic.
    """

    name: str
    rows: int
    table: str
    error: float
    seconds: float
    bytes: float
    work: Work
    share: float | None
    bound: str

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "name": f"{self.name}, {self.rows} rows, {self.table}",
            "ours_ms": 1000 * self.seconds,
            "peers": {},
            "best_peer": None,
            "ratio": None,
            "error": self.error,
            "gb_s": self.bytes / self.seconds / 1e9,
            "gop_s": self.work.operations / self.seconds / 1e9,
            "arithmetic": self.work.arithmetic,
            "share": self.share,
            "bound": self.bound,
        }


def measure_kernels(
    plan: Sequence[tuple[Op, Sequence[str]]],
    *,
    rows: Sequence[int],
    context: int,
    peaks: Peaks,
    seconds: float = 0.2,
    allowed: float = ALLOWED,
    progress: Progress | None = None,
) -> list[Timing]:
    """Times each operation at each number of rows for about `seconds`, with each table in turn.

    plan: the operations, and the tables that run each. context: tokens of the path that attention
    looks at, the rows counted.

    Raises:
        StepguardError: a table answers something else than the reference.
    """
    found: list[Timing] = []
    total = len(plan) * len(rows)
    for index, (op, tables) in enumerate(plan):
        for number, count in enumerate(rows, start=1):
            found += _measure(op, count, tables, max(context, count), peaks, seconds, allowed)
            if progress is not None:
                progress(index * len(rows) + number, total)
    return found


def _measure(
    op: Op,
    rows: int,
    tables: Sequence[str],
    context: int,
    peaks: Peaks,
    seconds: float,
    allowed: float,
) -> list[Timing]:
    sizes = {**op.sizes, "rows": rows} | ({"context": context} if op.has_context else {})
    _, size, _, runs = _core.measure_op(op.op, sizes, tables, peaks.threads, seconds, allowed)
    work = op.work(rows, context)
    timings = []
    for table, error, median in runs:
        if not error <= allowed:
            raise StepguardError(
                f"{op.name}, {rows} rows, {table}",
                expected=f"what the reference answers (largest difference {allowed:g})",
                got=f"a difference of {error:.2g}",
                fix="No time is printed for a kernel that computes something else.",
            )
        least = peaks.least_seconds(table, work)
        share = None if least is None else least / median
        bound = peaks.bound(table, work)
        timings.append(Timing(op.name, rows, table, error, median, size, work, share, bound))
    return timings
