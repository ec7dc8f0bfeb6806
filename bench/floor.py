"""The least time that a step verdict could take on this machine: the floor, and what makes it.

For every operation the larger of the bytes that must come from memory by the measured bandwidth,
and its operations by the measured peak of the instructions that the table uses; added up, as if
nothing else took time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepguard.bench.peaks import Peaks
from stepguard.bench.work import Op

# Which node of the graph an operation belongs to.
_NODES = {
    "linear": "Linear",
    "attention": "Attention",
    "attention_prepare": "Attention",
    "sigmoid_gate": "Attention",
    "delta_prepare": "DeltaNet",
    "delta_rule": "DeltaNet",
    "rms_norm": "RmsNorm",
    "embed": "Embed",
    "read_row": "ReadOut",
}


@dataclass(frozen=True)
class Step:
    """new tokens on a context, and a question behind them; rows: of the output matrix, read."""

    context: int
    new: int
    question: int
    rows: int


def floor_ms(ops: Sequence[Op], step: Step, peaks: Peaks, table: str) -> dict[str, float] | None:
    """Milliseconds by node of the graph; None where no peak of the table was measured."""
    tokens = step.new + step.question
    segments = 1 + (step.question > 0)
    found: dict[str, float] = {}
    for op in ops:
        rows = step.rows if op.op == "read_row" else tokens
        seconds = peaks.least_seconds(table, op.work(rows, step.context + tokens, segments))
        if seconds is None:
            return None
        node = _NODES[op.op]
        found[node] = found.get(node, 0.0) + 1000 * op.count * seconds
    return found
