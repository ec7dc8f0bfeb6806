"""From steps to token ids, one step at a time.

    whole text = prefix + beginning(profile) + step + step + ... + question(profile)

Every step's text ends in the characters that all that can follow begins with (for AgentDoG a
newline), so that little is held back at its end and the question needs fewer ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from stepguard.errors import PromptError
from stepguard.prompt.forgery import Neutraliser
from stepguard.prompt.forms import Rendered
from stepguard.prompt.pieces import Piece, common_length, with_profile
from stepguard.prompt.step import Step, Trajectory
from stepguard.prompt.stream import advance, encode
from stepguard.prompt.template import Prompt

__all__ = ["Border", "Encoder", "Extension"]

Ids = NDArray[np.int32]

_PART = 32_768


@dataclass(frozen=True, slots=True)
class Border:
    """A place between two steps. A plain value.

    `held` is the text that is read but not yet encoded; `at` is how many characters were read since
    the prompt's text began, those held included; `profile` is the profile as it is printed.
    """

    held: str
    at: int = 0
    profile: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Extension:
    """What a step adds.

    `ids` are new and final (int32 [n], n may be 0); `neutralised` counts forged delimiters,
    `unreadable` what had no text; `cuts` are the places (as in `Border.at`, ascending) where the
    text was cut, because no end of a token was found for long: see `prompt/stream.py`.
    """

    border: Border
    ids: Ids
    neutralised: int
    cuts: tuple[int, ...]
    unreadable: int

    @property
    def capped(self) -> int:
        """How many cuts there are."""
        return len(self.cuts)


class Encoder:
    """Encodes trajectories for one prompt and tokenizer. Immutable; threads may share it."""

    def __init__(self, prompt: Prompt, tokenizer: Tokenizer) -> None:
        self.prompt = prompt
        self._tokenizer = tokenizer
        self._neutralise = Neutraliser(prompt.delimiters)
        gap = prompt.form.gap
        self._joint = gap[: common_length(gap, prompt.after_steps)]
        # No profile changes the end of a question: it stands in the text that opens it.
        self._tail = self._encode_all(self._question("")[1])
        ahead, self._opening = prompt.split_prefix
        *fixed, last = ahead or (Piece(""),)
        text = "" if last.ids else last.text
        read = advance(tokenizer, "", text)
        if read.cuts:
            got = f"one before {text[: read.cuts[0]][-40:]!r} ends"
            expected = "no run without a border of over 2,048 characters, or 64 ids at its end"
            raise PromptError("prompt.prefix", expected=expected, got=got)
        ids = self._encode_all([*fixed, last] if last.ids else fixed) + read.ids
        self._start = Border(read.held, len(text))
        self.prefix_ids: Ids = _array(ids)
        self.prefix_ids.setflags(write=False)

    @property
    def tokenizer(self) -> Tokenizer:
        """What it encodes with."""
        return self._tokenizer

    def begin(self, profile: str = "") -> Extension:
        """What stands before the first step; comes right after `prefix_ids`."""
        form = self.prompt.form
        shown = form.shown_profile(profile, self._neutralise).text
        rendered = form.begin(profile, self._neutralise)
        start = Border(self._start.held, self._start.at, shown)
        text = self._before_steps(shown) + rendered.text + self._joint
        return self._extend(start, text, rendered, 0)

    def extend(self, border: Border, step: Step) -> Extension:
        """One more step behind `border`; `border` itself stays valid."""
        rendered = self.prompt.form.step(step, self._neutralise)
        text = rendered.text[len(self._joint) :] + self._joint if rendered.text else ""
        return self._extend(border, text, rendered, step.unreadable)

    def question(self, border: Border) -> Ids:
        """The ids from `border` to the place where the verdict is read: int32 [n], n > 0."""
        after = self._question(border.profile)[0][len(self._joint) :]
        return _array(encode(self._tokenizer, border.held + after) + self._tail)

    def text(self, trajectory: Trajectory) -> list[str]:
        """The rendered texts: of the beginning, then of every step ("" for one without content)."""
        form, steps = self.prompt.form, trajectory.steps
        first = form.begin(trajectory.profile, self._neutralise)
        return [first.text, *(form.step(step, self._neutralise).text for step in steps)]

    def whole(self, trajectory: Trajectory, cuts: Sequence[int] = ()) -> Ids:
        """All ids, by encoding the whole rendered text at once: the plain reference.

        `cuts` are all that the extensions reported, ascending. The text is cut there, without them
        it is one text.
        """
        shown = self.prompt.form.shown_profile(trajectory.profile, self._neutralise).text
        prefix = self.prompt.split_prefix[0]
        after, rest = self._question(shown)
        head = prefix[-1].text if prefix and not prefix[-1].ids else ""
        whole = head + self._before_steps(shown) + "".join(self.text(trajectory)) + after
        runs = [whole[a:b] for a, b in pairwise([0, *cuts, len(whole)])]
        ids = self._encode_all(prefix[:-1] if head else prefix)
        ids += [i for run in runs for i in encode(self._tokenizer, run)]
        return _array(ids + self._encode_all(rest))

    def _question(self, shown: str) -> tuple[str, tuple[Piece, ...]]:
        """The text that the question opens with, and what follows it."""
        pieces = with_profile(self.prompt.question, shown)
        opens_with_text = bool(pieces) and not pieces[0].ids
        return (pieces[0].text, pieces[1:]) if opens_with_text else ("", pieces)

    def _before_steps(self, shown: str) -> str:
        """What stands between the fixed prefix and the beginning of the trajectory."""
        return "" if self._opening is None else shown + self._opening

    def _extend(self, border: Border, text: str, rendered: Rendered, unreadable: int) -> Extension:
        read = advance(self._tokenizer, border.held, text)
        begin = border.at - len(border.held)
        cuts = tuple(begin + place for place in read.cuts)
        after = Border(read.held, border.at + len(text), border.profile)
        return Extension(after, _array(read.ids), rendered.neutralised, cuts, unreadable)

    def _encode_all(self, pieces: Sequence[Piece]) -> list[int]:
        return [i for piece in pieces for i in piece.ids or encode(self._tokenizer, piece.text)]


def _array(ids: Sequence[int]) -> Ids:
    # In parts of about a millisecond: numpy keeps the interpreter lock over each.
    parts = [np.asarray(ids[i : i + _PART], np.int32) for i in range(0, len(ids), _PART)]
    return np.concatenate([np.empty(0, np.int32), *parts])
