"""Probabilities of labels by transformers: the output masked to the labels, token by token, on
texts that are encoded as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from stepguard.guard import Guard
from stepguard.prompt import Trajectory
from stepguard.taxonomy import Diagnosis, Dimension, Taxonomy

QUESTION_END = "assistant\n"  # the text after the last special token of the chat template
LINES = {
    "risk_source": "Risk Source: ",
    "failure_mode": "Failure Mode: ",
    "real_world_harm": "Real World Harm: ",
}

Ids = list[int]


@dataclass
class Made:
    """A guard, its tokenizer and labels, and the same model in transformers."""

    guard: Guard
    tokenizer: Tokenizer
    taxonomy: Taxonomy
    reference: Any

    def text(self, dimension: str, label: str) -> str:
        """What the guard prints for a label."""
        found = self.taxonomy.find(Dimension(dimension), label)
        assert found is not None
        return found.text


def diagnosed(guard: Guard, trajectory: Trajectory, top: int = 1) -> Diagnosis:
    """The diagnosis at the end of a trajectory, read step by step."""
    with guard.session(trajectory.profile, diagnose=False) as session:
        for step in trajectory.steps:
            session.push(step)
        found = session.diagnose(top=top)
    assert found.complete, found.message
    return found


class Oracle:
    """The answers of transformers behind one trajectory."""

    def __init__(self, made: Made, trajectory: Trajectory) -> None:
        self.made = made
        asked = made.guard._reader.encoder.whole(trajectory).tolist()
        end = self.encode(QUESTION_END)
        assert asked[-len(end) :] == end
        self.context = asked[: -len(end)]
        self.im_end = next(piece.ids for piece in made.guard.prompt.question if piece.ids)
        self.known: dict[tuple[int, ...], Any] = {}

    def encode(self, text: str) -> Ids:
        return list(self.made.tokenizer.encode(text, add_special_tokens=False).ids)

    def spelt(self, dimension: str, before: Sequence[str]) -> dict[str, Ids]:
        """Label id -> the ids of the whole answer up to the end of its line."""
        lines = [f"{line}{text}\n" for line, text in zip(LINES.values(), before, strict=False)]
        last = dimension == "real_world_harm"
        return {
            label.id: self.encode(
                QUESTION_END
                + "".join(["unsafe\n", *lines, LINES[dimension], label.text])
                + "\n" * (not last)
            )
            + list(self.im_end) * last
            for label in self.made.taxonomy.of(Dimension(dimension))
        }

    def log_probabilities(self, ids: Ids) -> Any:
        """float64 [vocabulary], of the token after context and ids."""
        if tuple(ids) not in self.known:
            with torch.no_grad():
                out = self.made.reference(
                    torch.tensor([self.context + ids]), use_cache=False, logits_to_keep=1
                )
            self.known[tuple(ids)] = out.logits[0, -1].double().log_softmax(-1).numpy()
        return self.known[tuple(ids)]

    def masked(self, spelt: dict[str, Ids]) -> tuple[dict[str, float], float]:
        """Label id -> probability where only labels may be written; the share of all other text."""
        shares, beside = dict.fromkeys(spelt, 1.0), None
        for t in range(max(map(len, spelt.values()))):
            for label, ids in spelt.items():
                allowed = sorted({i[t] for i in spelt.values() if i[:t] == ids[:t] and len(i) > t})
                if len(allowed) < 2:
                    continue
                every = np.exp(self.log_probabilities(ids[:t]))
                inside = every[allowed].sum()
                shares[label] *= every[ids[t]] / inside
                beside = 1 - inside if beside is None else beside
        assert beside is not None
        return shares, beside

    def greedy(self, spelt: dict[str, Ids]) -> str:
        """The label that is written token by token when only labels may be written."""
        written: Ids = []
        while (
            len(left := {n: ids for n, ids in spelt.items() if ids[: len(written)] == written}) > 1
        ):
            allowed = sorted({ids[len(written)] for ids in left.values()})
            if len(allowed) > 1:
                every = self.log_probabilities(written)
                allowed = [max(allowed, key=lambda token: every[token])]
            written = [*written, *allowed]
        return next(iter(left))


def compare(made: Made, trajectory: Trajectory, tolerance: float) -> list[float]:
    """Asserts that every dimension is that of transformers; the share of each best label."""
    oracle, ours = Oracle(made, trajectory), diagnosed(made.guard, trajectory)
    before: list[str] = []
    shares_of_best: list[float] = []
    for dimension in LINES:
        spelt = oracle.spelt(dimension, before)
        shares, beside = oracle.masked(spelt)
        assert abs(sum(shares.values()) - 1) < 1e-9
        assert ours.of(dimension).keys() == shares.keys()
        worst = max(abs(ours.of(dimension)[label] - share) for label, share in shares.items())
        assert worst < tolerance
        assert abs(ours.out_of_vocabulary[dimension] - beside) < tolerance
        best = max(shares, key=lambda label: shares[label])
        assert ours.best[dimension] == best
        assert ours.written[dimension] == oracle.greedy(spelt)
        if shares[best] > 0.5:
            assert ours.written[dimension] == best
        before.append(made.text(dimension, best))
        shares_of_best.append(shares[best])
    return shares_of_best
