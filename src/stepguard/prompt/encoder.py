"""From steps to token ids, one step at a time.

    whole text = prefix + beginning(profile) + step + step + ... + question

Every step's text ends in the characters that all that can follow begins with (for AgentDoG a
newline), so that little is held back at its end and the question needs fewer ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from stepguard.errors import PromptError
from stepguard.prompt.forgery import Neutraliser
from stepguard.prompt.forms import Rendered
from stepguard.prompt.pieces import Piece, common_length
from stepguard.prompt.step import Step, Trajectory
from stepguard.prompt.stream import advance
from stepguard.prompt.template import Prompt

__all__ = ["Border", "Encoder", "Extension"]

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Border:
    """A place between two steps: the text that is read but not yet encoded. A plain value."""

    held: str


@dataclass(frozen=True, slots=True, eq=False)
class Extension:
    """What a step adds.

    `ids` are new and final (int32 [n], n may be 0); `neutralised` counts forged delimiters,
    `unreadable` what had no text; `capped` says that the text was cut at `border`, because more
    than 64 ids would have been held back there.
    """

    border: Border
    ids: Ids
    neutralised: int
    capped: bool
    unreadable: int


class Encoder:
    """Encodes trajectories for one prompt and tokenizer. Immutable; threads may share it."""

    def __init__(self, prompt: Prompt, tokenizer: Tokenizer) -> None:
        self.prompt = prompt
        self._tokenizer = tokenizer
        self._neutralise = Neutraliser(prompt.delimiters)
        gap = prompt.form.gap
        self._joint = gap[: common_length(gap, prompt.after_steps)]
        self._after = prompt.after_steps[len(self._joint) :]
        # Whether the question opens with text, which is encoded together with what is held.
        self._has_text = bool(prompt.question) and not prompt.question[0].ids
        self._tail = self._encode_all(prompt.question[self._has_text :])
        *fixed, last = prompt.prefix or (Piece(""),)
        read = advance(tokenizer, "", "" if last.ids else last.text)
        if read.capped:
            got = f"{last.text[-40:]!r} at its end"
            raise PromptError("prompt.prefix", expected="no run of over 64 ids", got=got)
        ids = self._encode_all([*fixed, last] if last.ids else fixed) + read.ids
        self._start = Border(read.held)
        self.prefix_ids: Ids = _array(ids)
        self.prefix_ids.setflags(write=False)

    def begin(self, profile: str = "") -> Extension:
        """What stands before the first step; comes right after `prefix_ids`."""
        rendered = self.prompt.form.begin(profile, self._neutralise)
        return self._extend(self._start, rendered.text + self._joint, rendered, 0)

    def extend(self, border: Border, step: Step) -> Extension:
        """One more step behind `border`; `border` itself stays valid."""
        rendered = self.prompt.form.step(step, self._neutralise)
        text = rendered.text[len(self._joint) :] + self._joint if rendered.text else ""
        return self._extend(border, text, rendered, step.unreadable)

    def question(self, border: Border) -> Ids:
        """The ids from `border` to the place where the verdict is read: int32 [n], n > 0."""
        return _array(self._encode(border.held + self._after) + self._tail)

    def text(self, trajectory: Trajectory) -> list[str]:
        """The rendered texts: of the beginning, then of every step ("" for one without content)."""
        form, steps = self.prompt.form, trajectory.steps
        first = form.begin(trajectory.profile, self._neutralise)
        return [first.text, *(form.step(step, self._neutralise).text for step in steps)]

    def whole(self, trajectory: Trajectory, cuts: Sequence[int] = ()) -> Ids:
        """All ids, by encoding the whole rendered text at once: the plain reference.

        `cuts` are the places at which streaming reported `capped`: 0 for the beginning, i for the
        i-th step (from 1). The text is cut there, without them it is one text.
        """
        texts = self.text(trajectory)
        prefix, question = self.prompt.prefix, self.prompt.question
        head = prefix[-1].text if prefix and not prefix[-1].ids else ""
        whole = head + "".join(texts) + self.prompt.after_steps
        ends = accumulate(map(len, texts), initial=len(head))
        # What follows a step begins with the joint, which stands before the cut.
        places = [end + len(self._joint) for i, end in enumerate(ends, -1) if i in cuts]
        runs = [whole[a:b] for a, b in pairwise([0, *places, len(whole)])]
        ids = self._encode_all(prefix[:-1] if head else prefix)
        ids += [i for run in runs for i in self._encode(run)]
        return _array(ids + self._encode_all(question[self._has_text :]))

    def _extend(self, border: Border, text: str, rendered: Rendered, unreadable: int) -> Extension:
        read = advance(self._tokenizer, border.held, text)
        ids, held = _array(read.ids), Border(read.held)
        return Extension(held, ids, rendered.neutralised, read.capped, unreadable)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids) if text else []

    def _encode_all(self, pieces: Sequence[Piece]) -> list[int]:
        return [i for piece in pieces for i in piece.ids or self._encode(piece.text)]


def _array(ids: Sequence[int]) -> Ids:
    return np.asarray(ids, dtype=np.int32)
