"""Which output rows say `safe` and which say `unsafe`, and the margin between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stepguard.errors import TaxonomyError


@dataclass(frozen=True)
class LabelRows:
    """Token ids of the accepted spellings, at the first token in which the labels differ.

    Spellings that share that token ("safe" and "safely") are one row.

    >>> rows = LabelRows.of(safe=[7, 3], unsafe=[5])
    >>> rows.ids
    (3, 5, 7)
    >>> round(rows.margin(np.array([0.0, 1.0, 0.0], np.float32)), 4)
    0.3069
    """

    ids: tuple[int, ...]
    safe: tuple[int, ...]
    unsafe: tuple[int, ...]

    @classmethod
    def of(cls, safe: Iterable[int], unsafe: Iterable[int]) -> LabelRows:
        """Raises TaxonomyError when a label has no spelling, or both have one in common."""
        rows = {"safe": sorted(set(safe)), "unsafe": sorted(set(unsafe))}
        for label, ids in rows.items():
            if not ids:
                raise TaxonomyError(f"label {label}", expected="a spelling", got="none")
        if both := set(rows["safe"]) & set(rows["unsafe"]):
            raise TaxonomyError(
                "labels safe and unsafe",
                expected="spellings that differ in the token that is read",
                got=f"token {min(both)} in both",
            )
        ids = sorted([*rows["safe"], *rows["unsafe"]])
        return cls(tuple(ids), tuple(rows["safe"]), tuple(rows["unsafe"]))

    def margin(self, logits: npt.NDArray[np.float32]) -> float:
        """Logit of unsafe minus logit of safe, the spellings' probabilities added; float64.

        logits: float32 [len(ids)], in the order of `ids`. NaN when one of them is not finite.
        """
        if len(logits) != len(self.ids):
            raise TaxonomyError("label logits", expected=str(len(self.ids)), got=str(len(logits)))
        if not np.all(np.isfinite(logits)):
            return float("nan")
        by_id = dict(zip(self.ids, map(float, logits), strict=True))
        return _log_sum(by_id, self.unsafe) - _log_sum(by_id, self.safe)


def _log_sum(logits: dict[int, float], ids: Sequence[int]) -> float:
    """Logarithm of the sum of exponentials. A single spelling keeps its logit to the bit."""
    values = np.array([logits[row] for row in ids], np.float64)
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))
