"""Runs without a border: cut where the text says, however it arrives; no call gets much of it."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from prompt_cases import encoder
from test_token_law import ALPHABETS, NAMES, at_once, check_trajectory, streamed
from tokenizers import Tokenizer
from tokenizers_for_test import TOKENIZERS

from stepguard.prompt import Step, Trajectory, stream
from stepguard.prompt.stream import RUN_CHARS, advance

RUNS = {
    "letters": "a",
    "spaces": " ",
    "newlines": "\n",
    "line ends": "\r\n",
    "apostrophes": "'",
    "digits": "7",
    "marks": "\u0301\u0316",
    "letters with marks": "e\u0316\u0301",
    "emoji": "\U0001f469\u200d",
    "syllables": "\u1100\u1161\u11a8",
    "han": "\u7121",
    "nul": "\x00",
    "no id": "\x06",
}


def run(name: str, length: int) -> str:
    return (RUNS[name] * length)[:length]


class Counting:
    """A tokenizer that notes how many characters each call gets."""

    def __init__(self, tokenizer: Tokenizer, sizes: list[int]) -> None:
        self._tokenizer, self._sizes = tokenizer, sizes

    def encode(self, text: str, **more: Any) -> Any:
        self._sizes.append(len(text))
        return self._tokenizer.encode(text, **more)

    def normalize_str(self, text: str) -> str:
        self._sizes.append(len(text))
        return str(self._tokenizer.normalizer.normalize_str(text))

    @property
    def normalizer(self) -> Counting | None:
        return None if self._tokenizer.normalizer is None else self


def pieces(text: str, places: list[int]) -> list[str]:
    return [text[a:b] for a, b in pairwise([0, *places, len(text)])]


def _some(kinds: list[str]) -> list[Any]:
    """All kinds of runs, those that are not named only where time is no matter."""
    return [kind if kind in kinds else pytest.param(kind, marks=pytest.mark.slow) for kind in RUNS]


@pytest.mark.parametrize("kind", _some(["letters", "spaces", "letters with marks"]))
@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_cut_alike_however_it_arrives(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HELD_IDS", 10**9)  # no cut where a part ends
    monkeypatch.setattr("test_token_law.HELD_IDS", 10**9)
    tokenizer = TOKENIZERS[name]()
    text = "It is " + run(kind, 3 * RUN_CHARS) + " so\n"
    ids, cuts = streamed(tokenizer, [text])
    assert ids == at_once(tokenizer, text, cuts)
    rng = random.Random(3)
    for count in (1, 7):
        parts = pieces(text, sorted(rng.sample(range(len(text)), count)))
        assert streamed(tokenizer, parts) == (ids, cuts)


@pytest.mark.parametrize("name", NAMES)
def test_short_runs_are_cut_alike_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small bound most texts are cut, at every kind of place."""
    monkeypatch.setattr(stream, "HELD_IDS", 10**9)
    monkeypatch.setattr("test_token_law.HELD_IDS", 10**9)
    tokenizer, rng, found = TOKENIZERS[name](), random.Random(5), 0
    for bound, size in ((8, 3), (20, 7)):
        monkeypatch.setattr(stream, "RUN_CHARS", bound)
        monkeypatch.setattr(stream, "_SLICE", size)
        for _ in range(100):
            alphabet = rng.choice([*ALPHABETS, "\n \u0301x", "  \u0301\u0316", "x'\u0301"])
            text = "".join(rng.choice(alphabet) * rng.choice((1, 1, 3, 30)) for _ in range(12))
            ids, cuts = streamed(tokenizer, [text])
            assert ids == at_once(tokenizer, text, cuts), text
            places = sorted(rng.sample(range(len(text)), min(len(text), rng.choice((1, 5, 999)))))
            assert streamed(tokenizer, pieces(text, places)) == (ids, cuts), text
            found += len(cuts)
    assert found > 200


@pytest.mark.parametrize("kind", _some(["letters", "spaces"]))
@pytest.mark.parametrize("name", ["smollm2", "qwen35"])
def test_a_giant_step(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ids of the text that was cut, in calls of a bounded size, linear in number."""
    own, sizes = encoder(name), list[int]()
    text = run(kind, 200_000)
    trajectory = Trajectory("", (Step.user("go"), Step.environment(text), Step.user("so")))
    check_trajectory(own, trajectory)
    border = own.extend(own.begin().border, trajectory.steps[0]).border
    monkeypatch.setattr(own, "_tokenizer", Counting(TOKENIZERS[name](), sizes))
    extension = own.extend(border, trajectory.steps[1])
    assert max(sizes) <= RUN_CHARS
    assert sum(sizes) < 8 * len(text)
    assert all(b - a <= RUN_CHARS for a, b in pairwise(extension.cuts))
    assert len(extension.border.held) < RUN_CHARS


@pytest.mark.parametrize(("kind", "cuts"), [("letters", 97), ("spaces", 97), ("digits", 0)])
def test_what_a_verdict_counts(kind: str, cuts: int) -> None:
    """Letters are cut before their last one, which might still get a mark; digits stand alone."""
    own = encoder("smollm2")
    extension = own.extend(own.begin().border, Step.environment(run(kind, 200_000)))
    assert extension.capped == len(extension.cuts) == cuts


@pytest.mark.slow
def test_two_million_letters_take_ten_times_as_many_calls() -> None:
    counts = []
    for length in (200_000, 2_000_000):
        sizes: list[int] = []
        advance(Counting(TOKENIZERS["smollm2"](), sizes), "", "a" * length)  # type: ignore[arg-type]
        counts.append(sum(sizes))
    assert 9.5 < counts[1] / counts[0] < 10.5


def test_characters_without_an_id_are_bounded_too() -> None:
    read = advance(TOKENIZERS["smollm2"](), "", "\x06" * 100_000)
    assert len(read.cuts) == 100_000 // (RUN_CHARS - 1)
    assert read.ids == []


def test_no_cut_takes_a_mark_from_its_letter() -> None:
    tokenizer = TOKENIZERS["qwen25"]()
    text = "e\u0301" * 3_000
    read = advance(tokenizer, "", text)
    assert read.cuts
    assert all(text[cut] == "e" for cut in read.cuts[:-1])
