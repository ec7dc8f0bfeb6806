"""Labels as a trie of token ids: which places are read, and probabilities from what was read.

The probability of a label is locally normalised: at every branch the logits of the tokens that go
on to some label are made a distribution, and a label's probability is the product along its path.
That is the distribution of a model whose output is masked to the labels, token by token. It is not
the model's own probability of the whole label divided by that of all labels: mass that the model
gives to other text after a label has begun is spread over the labels that begin so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stepguard.errors import TaxonomyError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Branch:
    """A place in the trie where at least two tokens go on.

    above: index of the branch that it hangs below, -1 for the first. ids: the tokens from there to
    here. children: the tokens that go on, ascending: the output rows to be read.
    """

    above: int
    ids: tuple[int, ...]
    children: tuple[int, ...]


@dataclass(frozen=True)
class Trie:
    """branches: a parent comes before its children. turns: label id -> (branch, child) on its path,
    both as indices."""

    branches: tuple[Branch, ...]
    turns: Mapping[str, tuple[tuple[int, int], ...]]

    @classmethod
    def of(cls, paths: Mapping[str, Sequence[int]]) -> Trie:
        """From the paths of at least two labels, which differ in their first token somewhere.

        Raises TaxonomyError when a path begins with the whole of another, or where all share their
        first token.

        >>> trie = Trie.of({"a": [1, 9], "ab": [1, 2, 9], "c": [3, 9]})
        >>> [(branch.above, branch.ids, branch.children) for branch in trie.branches]
        [(-1, (), (1, 3)), (0, (1,), (2, 9))]
        """
        branches: list[Branch] = []
        turns: dict[str, list[tuple[int, int]]] = {name: [] for name in paths}
        _grow(dict(paths), 0, -1, (), branches, turns)
        if not branches or branches[0].ids:
            raise TaxonomyError(
                "labels", expected="at least two, which begin differently", got=str(len(paths))
            )
        return cls(tuple(branches), {name: tuple(found) for name, found in turns.items()})

    @property
    def rows(self) -> tuple[int, ...]:
        """All output rows that are read, ascending."""
        return tuple(sorted({row for branch in self.branches for row in branch.children}))

    @property
    def tokens(self) -> int:
        """How many tokens are read below the place where the labels begin."""
        return sum(len(branch.ids) for branch in self.branches)

    def probabilities(self, logits: Sequence[Floats]) -> dict[str, float]:
        """Label id -> locally normalised probability; they add up to 1.

        logits: for every branch float32 [children], in their order. NaN where one is not finite.
        """
        logs = [_log_softmax(np.asarray(values, np.float64)) for values in logits]
        return {
            name: float(np.exp(sum(logs[branch][child] for branch, child in found)))
            for name, found in self.turns.items()
        }

    def written(self, logits: Sequence[Floats]) -> str:
        """The label that is reached by the likeliest token at every branch; `logits` as above."""
        best = [int(np.argmax(values)) for values in logits]
        return next(
            name
            for name, found in self.turns.items()
            if all(child == best[branch] for branch, child in found)
        )


def outside(children: Floats, every: Floats) -> float:
    """Probability that the model goes on with none of the children.

    children: float32 [n], logits of the first branch; every: float32 [vocabulary], those of all
    rows. 0 to 1; NaN where a logit is not finite.
    """
    inside = _log_sum(np.asarray(children, np.float64)) - _log_sum(np.asarray(every, np.float64))
    return float("nan") if np.isnan(inside) else min(max(0.0, -math.expm1(inside)), 1.0)


def _grow(
    paths: dict[str, Sequence[int]],
    depth: int,
    above: int,
    ids: tuple[int, ...],
    branches: list[Branch],
    turns: dict[str, list[tuple[int, int]]],
) -> None:
    """Adds the branches of paths that agree up to `depth`; `ids` lead there from the one above."""
    while len(paths) > 1:
        for name, path in paths.items():
            if len(path) <= depth:
                others = ", ".join(sorted(other for other in paths if other != name))
                got = f"{name} and {others} with the same tokens"
                raise TaxonomyError("labels", expected="tokens of their own", got=got)
        below: dict[int, dict[str, Sequence[int]]] = {}
        for name, path in paths.items():
            below.setdefault(path[depth], {})[name] = path
        if len(below) > 1:
            index = len(branches)
            branches.append(Branch(above, ids, tuple(sorted(below))))
            for child, (token, group) in enumerate(sorted(below.items())):
                for name in group:
                    turns[name].append((index, child))
                _grow(group, depth + 1, index, (token,), branches, turns)
            return
        ids = (*ids, next(iter(below)))
        depth += 1


def _log_softmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return values - _log_sum(values)


def _log_sum(values: npt.NDArray[np.float64]) -> float:
    """Logarithm of the sum of exponentials; NaN where a value is not finite."""
    if not np.all(np.isfinite(values)):
        return float("nan")
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))
