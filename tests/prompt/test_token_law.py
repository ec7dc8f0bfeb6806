"""The token law: streamed ids are the ids of the whole text, for text cut anywhere."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations_with_replacement, pairwise
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_cases import BINARY, encoder, records
from tokenizers import Tokenizer
from tokenizers_for_test import TOKENIZERS

from stepguard.errors import TokenizerError
from stepguard.prompt import Encoder, Step, Trajectory, stream
from stepguard.prompt.law import prove_law
from stepguard.prompt.stream import HELD_IDS, RUN_CHARS, advance

NAMES = list(TOKENIZERS)
ALPHABETS = [
    " \n\r\t'sdtrelvm!.a1",
    " \n'\u2019reLLvE!",
    "a e\u0301\u0316\u0338\u0345=<>\u1100\u1161\u11a8\uac00\u0915\u093c\u09c7\u09be",
    "12345 a\n\u00bd\u0661",
    " \u3000\x85\u2028\u00a0\r\n\x0b\x0c\x1c\x1f x!",
    "👩\u200d👧\ufe0f❤ a日本\n🏽",
    "\x00\x04\x06!' s\x13d\n a",
    "\u0378\U00040000\U000f0000a\u0301 \U0010ffff\ufffd",
    "\u0e01\u0e33\u0e31 \u0928\u093f\u0902x\u0344\u0340\u037e\u2126\ufb1d\u0958\u2adc",
    "{}[]()<>|:_-/\\\"'#\n =",
]


def plain(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids) if text else []


def streamed(tokenizer: Tokenizer, parts: Sequence[str]) -> tuple[list[int], list[int]]:
    """Ids of the stream, and the places where it was cut."""
    held, ids, cuts, at = "", [], [], 0
    for part in parts:
        read = advance(tokenizer, held, part)
        ids += read.ids
        cuts += [at - len(held) + cut for cut in read.cuts]
        at, held = at + len(part), read.held
        assert len(plain(tokenizer, held)) <= HELD_IDS
        assert len(held) < RUN_CHARS
    return ids + plain(tokenizer, held), cuts


def at_once(tokenizer: Tokenizer, text: str, cuts: Sequence[int]) -> list[int]:
    runs = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    return [i for run in runs for i in plain(tokenizer, run)]


def broken(tokenizer: Tokenizer, parts: Sequence[str]) -> bool:
    ids, cuts = streamed(tokenizer, parts)
    return ids != at_once(tokenizer, "".join(parts), cuts)


@st.composite
def cut_texts(draw: st.DrawFn) -> list[str]:
    alphabet = "".join(draw(st.lists(st.sampled_from(ALPHABETS), min_size=1, max_size=2)))
    return draw(st.lists(st.text(st.sampled_from(alphabet), max_size=12), max_size=8))


def random_parts(rng: random.Random) -> list[str]:
    alphabet = rng.choice(ALPHABETS) + (rng.choice(ALPHABETS) if rng.random() < 0.3 else "")
    text = "".join(rng.choice(alphabet) for _ in range(rng.choice((3, 6, 12, 30))))
    cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.choice((1, 2, 4, len(text)))))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_any_text_cut_anywhere(name: str) -> None:
    tokenizer = TOKENIZERS[name]()

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(cut_texts())
    def check(parts: list[str]) -> None:
        assert not broken(tokenizer, parts)

    check()
    rng = random.Random(1)
    for _ in range(500):
        parts = random_parts(rng)
        assert not broken(tokenizer, parts), parts


PLANTED = (
    "a\r\n\r\n b\n  \tc \r d",
    "it're I'LL\u2019ve 's '",
    "e\u0301\u0316 \u0301x <\u0338 \u1100\u1161\u11a8",
    "a\x00\x00 b\x00\n\x06c",
    "12345 6.7\u00bd a1 \ufffd\U0001f469\u200d\U0001f467",
)


@pytest.mark.parametrize("text", PLANTED, ids=ascii)
@pytest.mark.parametrize("name", NAMES)
def test_planted_borders(name: str, text: str) -> None:
    """A border at every place of what tokenizers and normal forms look at, or at two."""
    tokenizer = TOKENIZERS[name]()
    for first, second in combinations_with_replacement(range(len(text) + 1), 2):
        parts = [text[:first], text[first:second], text[second:]]
        assert not broken(tokenizer, parts), parts


@pytest.mark.parametrize("name", NAMES)
def test_steps_that_end_at_planted_borders(name: str) -> None:
    own = encoder(name)
    for text in (*PLANTED, "a\ud800\udc00\udfff b"):
        for place in range(len(text) + 1):
            steps = (Step.user(text[:place]), Step.environment(text[place:]))
            assert check_trajectory(own, Trajectory(text[:place], steps)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_any_text_cut_anywhere_at_length(name: str) -> None:
    rng = random.Random(7)
    tokenizer = TOKENIZERS[name]()
    for _ in range(10_000):
        parts = random_parts(rng)
        assert not broken(tokenizer, parts), parts


def only_the_last_character(text: str) -> int:
    return max(len(text) - 1, 0)


def no_contractions(text: str) -> int:
    i = len(text.rstrip())
    return i if i < len(text) else max(i - 1, 0)


@pytest.mark.parametrize("limit", [len, only_the_last_character, no_contractions])
def test_a_careless_border_fails(limit: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts of these tests find a hold-back that forgets one of its reasons."""
    monkeypatch.setattr(stream, "_limit", limit)
    rng = random.Random(7)
    found = {name for name in NAMES if name != "qwen35" for _ in range(2_000)
             if broken(TOKENIZERS[name](), random_parts(rng))}  # fmt: skip
    assert found
    # GPT-2's pattern takes a contraction as one, Qwen's the white space before a newline.
    careless = TOKENIZERS["smollm2" if limit is no_contractions else "qwen25"]()
    with pytest.raises(TokenizerError, match="other ids"):
        prove_law(careless, "here")


def test_marks_must_stay_with_their_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "opens", lambda char: True)
    assert broken(TOKENIZERS["qwen25"](), ["xe\u0316", "\u0301"])


def test_the_bound_is_exact() -> None:
    """A run of newlines is held up to 64 ids; one more and the text is cut."""
    tokenizer = TOKENIZERS["smollm2"]()
    first_over = next(n for n in range(500) if len(plain(tokenizer, "\n" * n)) > HELD_IDS)
    assert advance(tokenizer, "", "\n" * first_over).cuts == (first_over,)
    read = advance(tokenizer, "", "\n" * (first_over - 1))
    assert not read.cuts
    assert read.held == "\n" * (first_over - 1)


def trajectory_ids(own: Encoder, trajectory: Trajectory) -> tuple[np.ndarray, list[int]]:
    extension = own.begin(trajectory.profile)
    ids, cuts = [own.prefix_ids, extension.ids], [*extension.cuts]
    for step in trajectory.steps:
        extension = own.extend(extension.border, step)
        ids.append(extension.ids)
        cuts += extension.cuts
    return np.concatenate([*ids, own.question(extension.border)]), cuts


def check_trajectory(own: Encoder, trajectory: Trajectory) -> list[int]:
    ids, cuts = trajectory_ids(own, trajectory)
    assert ids.dtype == np.int32
    assert ids.tolist() == own.whole(trajectory, cuts).tolist()
    return cuts


@pytest.mark.parametrize("template", ["short", BINARY])
@pytest.mark.parametrize("name", NAMES)
def test_labelled_trajectories(name: str, template: str) -> None:
    for record in records(4):
        assert check_trajectory(encoder(name, template), Trajectory.from_dict(record)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_labelled_trajectories(name: str) -> None:
    own, cuts, count = encoder(name, BINARY), 0, 0
    for record in records(None):
        cuts += len(check_trajectory(own, Trajectory.from_dict(record)))
        count += 1
    assert count == 4_401
    assert cuts <= 3  # at steps that end in a long run of letters or signs


@pytest.mark.parametrize("template", ["short", BINARY])
@pytest.mark.parametrize("name", NAMES)
def test_awkward_trajectories(name: str, template: str) -> None:
    own = encoder(name, template)
    run = " " * 20_000
    steps = (
        Step.user("crlf\r\n\r\n"),
        Step.agent("", "nul \x00 \ud800"),
        Step.environment(""),
        Step.environment(run),
        Step.user("\u0301\u0316 mark first"),
        Step.environment("x" * 20_000),
        Step.agent("it's '", "r"),
        Step.environment("\n\n\n"),
        Step.user("'"),
    )
    cuts = check_trajectory(own, Trajectory("profile\r\n", steps))
    assert len(cuts) == 2 * (20_000 // RUN_CHARS)
    assert len(check_trajectory(own, Trajectory(run, steps))) == len(cuts)
    assert check_trajectory(own, Trajectory("", ())) == []


def test_borders_are_values() -> None:
    """Two children of one border, and the border again: nothing is changed in between."""
    own = encoder("smollm2")
    border = own.begin("p").border
    first = own.extend(border, Step.user("one"))
    other = own.extend(border, Step.user("two"))
    again = own.extend(border, Step.user("one"))
    assert first.ids.tolist() == again.ids.tolist() != other.ids.tolist()
    assert first.border == again.border
    empty = own.extend(first.border, Step.environment(""))
    assert empty.border == first.border
    assert len(empty.ids) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_long_step_takes_under_a_second(name: str) -> None:
    own = encoder(name, BINARY)
    step = Step.environment("".join(f"drwxr-xr-x {i} file_{i:04}.txt\n" for i in range(6_500)))
    border = own.begin("").border
    start = process_time()
    extension = own.extend(border, step)
    assert process_time() - start < 2.0  # a fraction of that where the machine is idle
    assert len(extension.border.held) < 10
