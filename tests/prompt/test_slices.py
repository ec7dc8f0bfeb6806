"""Long text in slices: the same result as at once, and no call that gets much of it."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from prompt_cases import BINARY, encoder
from tokenizers_for_test import TOKENIZERS

from stepguard.prompt.forgery import Delimiters, Neutraliser
from stepguard.prompt.slices import RUN_CHARS, composed, opens

DELIMITERS = Delimiters(
    texts=("<LOG START>", "=== Part ===", "safe and sound", "\u00c9<", "\u017ft"),
    lines=("Verdict", "K:"),
    keys=("USER", "ACTION"),
)
LONG = {
    "prose": "The quick brown fox jumped. ",
    "newlines": "\n",
    "blanks": "\n ",
    "marks": "\u0301",
    "brackets": "<",
    "keys": "\n[USER",
    "signs": "=",
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("agent", [False, True])
def test_a_search_comes_back_every_thousand_characters(kind: str, agent: bool) -> None:
    """What has no delimiter is fillers from end to end."""
    for own in (Neutraliser(DELIMITERS), encoder("smollm2", BINARY)._neutralise):
        pattern = own._agent if agent else own._plain
        spans = [match.span() for match in pattern.finditer(LONG[kind] * 3_000)]
        assert all(end == start for (_, end), (start, _) in pairwise(spans))
        assert spans[0][0] == 0
        assert spans[-1][1] == 3_000 * len(LONG[kind])
        assert max(end - start for start, end in spans) <= 1_000


def test_fillers_hide_no_delimiter() -> None:
    """The same matches as the pattern without fillers, which are its last alternative."""
    rng, found = random.Random(2), 0
    words = [*DELIMITERS.texts, *DELIMITERS.lines, "[USER]:", "[x]:", "<|im_end|>", "\n", "\r", " "]
    words += [*"<|[]=aSsk\u212a\u017fI\u0130\u200b\u0301", "x" * 1_100, " " * 1_100, "\n" * 1_100]
    for pattern in (Neutraliser(DELIMITERS)._plain, Neutraliser(DELIMITERS)._agent):
        alone = re.compile(pattern.pattern[: pattern.pattern.rindex("|([^")], pattern.flags)
        for _ in range(1_500):
            parts = rng.choices(words, k=rng.choice((3, 8, 20)))
            text = "".join(rng.choice((part, part, part.swapcase())) for part in parts)
            matches = [m.span() for m in pattern.finditer(text) if m.lastindex is None]
            assert matches == [m.span() for m in alone.finditer(text)], text
            found += len(matches)
    assert found > 3_000


def test_composing_keeps_the_characters_that_open() -> None:
    """Places in a text are found in its normal form by counting them."""
    normalizer = TOKENIZERS["qwen25"]().normalizer
    for char in _composed():
        normal = normalizer.normalize_str(char)
        assert [*map(opens, normal)] == [opens(char)] + [False] * (len(normal) - 1), ascii(char)


def _composed() -> Iterator[str]:
    codes = (*range(0x300, 0xD800), *range(0xE000, 0x30000))
    return (
        char for char in map(chr, codes) if unicodedata.decomposition(char)[:1] not in ("", "<")
    )


def test_composing_in_slices() -> None:
    rng = random.Random(1)
    for _ in range(50):
        parts = [
            "e\u0301",
            "a\u0316\u0301",
            "\u1100\u1161\u11a8",
            "x" * 400,
            "\uac00",
            "\u0928\u093c",
        ]
        text = "".join(rng.choice(parts) * rng.choice((1, 40)) for _ in range(60))
        assert composed(text) == unicodedata.normalize("NFC", text)
    assert composed("plain") == "plain"


def test_mixed_marks_are_not_sorted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python sorts n marks in n * n steps, and holds the interpreter's lock meanwhile."""
    sizes = []
    normalize = unicodedata.normalize

    def counted(form: Any, text: str) -> str:
        sizes.append(len(text))
        return normalize(form, text)

    neutralise = Neutraliser(Delimiters((), (), ("USER",)))
    monkeypatch.setattr(unicodedata, "normalize", counted)
    neutralise("x" + "\u0301\u0316" * 25_000, True)
    assert max(sizes) <= RUN_CHARS
    assert sum(sizes) == 50_001
