"""Whether training records repeat a test split: word n-grams that two records share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from stepguard.train.points import Floats
from stepguard.train.records import Record

WORDS = 13  # of an n-gram
HALF = 0.5  # share of n-grams in common from which two records overlap
_WORD = re.compile(r"\w+")
_CHUNK = 256  # training records at a time

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Overlap:
    """How much training records share with one test split.

    share: float64 [training records], n-grams in common with the test record that it shares most
    with, by the n-grams of the shorter one; worst: for each, the index of that test record, -1
    where it shares nothing.
    """

    split: str
    share: Floats
    worst: npt.NDArray[np.int64]

    def over(self, threshold: float = HALF) -> list[int]:
        """Indices of the training records that share at least that much."""
        return [int(index) for index in np.flatnonzero(self.share >= threshold)]

    def line(self, threshold: float = HALF) -> str:
        """For people."""
        any_at_all, most = int(np.sum(self.share > 0)), float(self.share.max(initial=0.0))
        return (
            f"{self.split}: {len(self.over(threshold))} of {len(self.share)} training records "
            f"share {100 * threshold:g} % or more with a test record; {any_at_all} share anything; "
            f"at most {100 * most:.1f} %"
        )


def overlaps(
    training: Sequence[Record], tests: Mapping[str, Sequence[Record]], words: int = WORDS
) -> list[Overlap]:
    """One for every test split. Texts are compared in small letters, words only."""
    grams = [_grams(record, words) for record in training]
    return [
        _overlap(split, grams, [_grams(record, words) for record in records])
        for split, records in tests.items()
    ]


def without_overlap(
    training: Sequence[Record],
    tests: Mapping[str, Sequence[Record]],
    words: int = WORDS,
    threshold: float = HALF,
) -> list[Record]:
    """The training records that share less than `threshold` with every test record."""
    gone = {index for one in overlaps(training, tests, words) for index in one.over(threshold)}
    return [record for index, record in enumerate(training) if index not in gone]


def _overlap(split: str, grams: list[Hashes], test: list[Hashes]) -> Overlap:
    share, worst = np.zeros(len(grams)), np.full(len(grams), -1, np.int64)
    known = np.unique(np.concatenate([*test, np.empty(0, np.uint64)]))
    if len(known):
        columns = _matrix(test, known).T.tocsr()
        sizes = np.array([len(one) for one in test])
        for begin in range(0, len(grams), _CHUNK):
            part = grams[begin : begin + _CHUNK]
            common = (_matrix(part, known) @ columns).toarray()
            lengths = np.array([len(one) for one in part])
            shares = common / np.maximum(np.minimum.outer(lengths, sizes), 1)
            best = shares.argmax(1)
            top = shares[np.arange(len(part)), best]
            share[begin : begin + _CHUNK] = top
            worst[begin : begin + _CHUNK] = np.where(top > 0, best, -1)
    return Overlap(split, share, worst)


def _matrix(grams: list[Hashes], known: Hashes) -> csr_matrix:
    """int32 [records, known n-grams]: 1 where a record has it."""
    columns = []
    for one in grams:
        places = np.minimum(np.searchsorted(known, one), len(known) - 1)
        columns.append(places[known[places] == one])
    starts = np.append(0, np.cumsum([len(one) for one in columns]))
    indices = np.concatenate([*columns, np.empty(0, np.int64)])
    return csr_matrix((np.ones(len(indices), np.int32), indices, starts), (len(grams), len(known)))


def _grams(record: Record, words: int) -> Hashes:
    """The different n-grams of its steps as hashes, ascending; the profile, which many share, is
    left out. A shorter text is one n-gram."""
    texts = [text.python for step in record.trajectory.steps for _, text in step.fields]
    found = _WORD.findall("\n".join(texts).lower())
    if not found:
        return np.empty(0, np.uint64)
    # 64-bit FNV-1a of each word, then a polynomial over n of them: equal on every machine.
    values = np.array([_fnv(word) for word in found], np.uint64)
    size = min(words, len(values))
    sums = np.zeros(len(values) - size + 1, np.uint64)
    for k in range(size):
        sums = sums * np.uint64(0x9E3779B97F4A7C15) + values[k : k + len(sums)]
    return np.unique(sums)


_KNOWN_WORDS: dict[str, int] = {}


def _fnv(word: str) -> int:
    if word not in _KNOWN_WORDS:
        value = 0xCBF29CE484222325
        for byte in word.encode("utf-8", "surrogatepass"):
            value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
        _KNOWN_WORDS[word] = value
    return _KNOWN_WORDS[word]
