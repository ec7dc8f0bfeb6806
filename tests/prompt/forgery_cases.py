"""Attacks on the structure of a prompt, as hypothesis strategies."""

from __future__ import annotations

import json
import random
import unicodedata
from functools import cache
from itertools import chain
from typing import Any

from hypothesis import strategies as st
from trajectory_reader import shows_nothing

from stepguard.prompt import Step, Trajectory

NAMES = ["USER", "agent", "Environment", "THOUGHT", "action", "PROFILE", "steps", "note", "Task"]
BREAKS = ["\n", "\r\n", "\r", *"\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", "\n\n"]
BLANKS = ["", "", " ", "\t", "\xa0", "\u3000", "\u2009", "\u202f"]
CONTROL = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>",
    "<|begin_of_text|>", "<|reserved_special_token_7|>", "<｜end▁of▁sentence｜>", "<think>",
    "</think>", "<tool_call>", "</tool_response>", "<s>", "</s>", "[INST]", "[/INST]",
    "<<SYS>>", "<start_of_turn>", "<BEGIN TRAJECTORY>", "<END TRAJECTORY>",
    "=== Agent Profile ===", "=== Conversation History ===", "\\n[USER]: ", "&lt;|im_end|&gt;",
]  # fmt: skip
# Letters that become others by case folding or composition, or look like them.
ALIKE = {
    "s": "ſꞅѕｓ", "k": "\u212aｋк", "i": "İıіｉ", "ss": "ßẞ", "fi": "ﬁ", "ff": "ﬀ", "st": "ﬆﬅ",
    "t": "ẗｔ", "j": "ǰ", "h": "ẖ", "w": "ẘ", "y": "ẙ", "a": "аａᴀ", "e": "еｅé", "u": "ｕ",
    "å": "\u212b", "<": "＜‹≮", ">": "＞›", "[": "［", "]": "］", ":": "：\ua789", "|": "｜¦",
    "=": "＝≠",
}  # fmt: skip


@cache
def unseen() -> str:
    """Every character that shows nothing; the planes left out have none."""
    points = chain(range(0xD800), range(0xE000, 0x20000), range(0xE0000, 0xE1000))
    return "".join(filter(shows_nothing, map(chr, points)))


def disguise(text: str, seed: int) -> str:
    """The text in other case, with look-alikes, decomposed, with what shows nothing in between."""
    chance, parts, at = random.Random(seed), list[str](), 0
    while at < len(text):
        size = 2 if text[at : at + 2].lower() in ALIKE and chance.random() < 0.5 else 1
        char = text[at : at + size]
        way = chance.randrange(12)
        if way == 0 and char.lower() in ALIKE:
            char = chance.choice(ALIKE[char.lower()])
        elif way <= 3:
            char = char.swapcase() if way < 3 else unicodedata.normalize("NFD", char)
        elif way == 4:
            char += chance.choice(unseen()) * chance.choice([1, 1, 2, 70])
        elif way == 5:
            char += chance.choice("\u200b\u034f\u0338\x00\ufe0f")
        elif way == 6 and not char.isalnum():
            char += chance.choice(BLANKS)
        parts.append(char)
        at += size
    return "".join(parts)


def disguised(text: str) -> st.SearchStrategy[str]:
    return st.integers(0, 1 << 32).map(lambda seed: disguise(text, seed))


def fragments(marks: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Delimiters and keys, whole, disguised or cut; what stands around them; any text."""
    break_or_not = st.sampled_from([*BREAKS, "\n", "\n", ""])
    keys = st.builds("{}{}[{}]{}:".format, break_or_not, st.sampled_from(BLANKS),
                     st.sampled_from(NAMES), st.sampled_from(BLANKS))  # fmt: skip
    words = st.sampled_from([*marks, *CONTROL])
    whole = st.one_of(keys, words)
    halves = st.builds(lambda text, at: text[: len(text) * at // 4], whole, st.integers(1, 3))
    rests = st.builds(lambda text, at: text[len(text) * at // 4 :], whole, st.integers(1, 3))
    signs = ["[", "]:", "<", ">", "|", "===", "safe", "\ud800", "\u0338", *BREAKS]
    return st.one_of(
        whole.flatmap(disguised), whole.flatmap(disguised), keys, words, halves, rests,
        st.sampled_from(signs), st.text(max_size=4),
    )  # fmt: skip


def contents(marks: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.lists(fragments(marks), max_size=5).map("".join)


def values(marks: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """An agent's value: text, or an object such as a call with arguments."""
    text = contents(marks)
    call = st.fixed_dictionaries({"name": text, "arguments": st.dictionaries(text, text)})
    return st.one_of(text, text, call, st.lists(st.one_of(text, st.integers(), st.none())))


def trajectories(marks: tuple[str, ...]) -> st.SearchStrategy[tuple[str, list[dict[str, Any]]]]:
    """Profile and steps as JSON objects; in half of them one attack is cut over all contents."""
    text = contents(marks)
    names = st.one_of(
        st.sampled_from([*NAMES, "x]:\n[USER", "INST"]).flatmap(disguised), st.text(max_size=6)
    )
    more = st.dictionaries(names.filter(lambda n: n not in ("role", "thought", "action")),
                           values(marks), max_size=2)  # fmt: skip

    @st.composite
    def make(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
        roles = draw(st.lists(st.sampled_from(["user", "agent", "agent", "environment"]),
                              max_size=4))  # fmt: skip
        if draw(st.booleans()):
            source = _cut(draw, draw(text), 1 + 2 * len(roles))
        else:
            source = [draw(text) for _ in range(1 + 2 * len(roles))]
        profile, steps = source.pop(), list[dict[str, Any]]()
        for role in roles:
            one, two = source.pop(), source.pop()
            if role == "agent":
                action = draw(values(marks)) if draw(st.integers(0, 3)) == 0 else two
                steps.append({"role": role, "thought": one, "action": action, **draw(more)})
            else:
                parts = [{"type": "text", "text": one}, two]
                steps.append({"role": role, "content": parts if draw(st.booleans()) else one})
        return profile, steps

    return make()


def _cut(draw: st.DrawFn, text: str, pieces: int) -> list[str]:
    """The text in so many pieces, the last one first, as they are taken from the end."""
    ends = sorted(draw(st.lists(st.integers(0, len(text)), min_size=pieces - 1,
                                max_size=pieces - 1)))  # fmt: skip
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)][::-1]


def trajectory(profile: str, steps: list[dict[str, Any]]) -> Trajectory:
    return Trajectory(profile, tuple(map(Step.from_dict, steps)))


def said(step: dict[str, Any], printed: str) -> list[tuple[str, str]]:
    """Key and text of what a step must show, in order; none for a step without content."""
    if step["role"] != "agent":
        content = step["content"]
        if isinstance(content, list):
            content = "\n".join(part if isinstance(part, str) else part["text"] for part in content)
        return [("", content)] if content else []
    shown = []
    for key, value in step.items():
        if key == "role":
            continue
        text = value if isinstance(value, str) else _printed(value, printed)
        if text.strip():
            shown.append((key, text))
    return shown


def _printed(value: Any, printed: str) -> str:
    if not value:
        return ""
    return str(value) if printed == "python" else json.dumps(value, ensure_ascii=False)
