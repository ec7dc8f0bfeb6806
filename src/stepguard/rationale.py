"""From the tokens of a written answer to what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from tokenizers import Tokenizer

from stepguard.prompt import ANSWERS, Mode, Prompt
from stepguard.prompt.answers import RATIONALE
from stepguard.prompt.written import MalformedAnswer, Written, read_answer
from stepguard.runtime import Result
from stepguard.taxonomy import LabelRows, Reason
from stepguard.track import Ids
from stepguard.writing import Writing


@dataclass(frozen=True)
class Outcome:
    """A written answer that was read, or why there is none.

    margin: that of the label logits where the label was written.
    """

    text: str = ""
    written: Written | None = None
    margin: float | None = None
    reason: Reason | None = None
    message: str = ""
    tokens: int = 0


class Rationale:
    """Begins answers and reads them, for one prompt and tokenizer. Immutable."""

    def __init__(self, prompt: Prompt, tokenizer: Tokenizer) -> None:
        """Raises PromptError for a prompt without this mode."""
        self._mode: Mode = prompt.in_mode(RATIONALE).modes[RATIONALE]
        self._answer = ANSWERS[prompt.answer]
        self._tokenizer = tokenizer
        self._special = {id_: text for text, id_ in self._mode.special.items()}
        self._vocabulary = frozenset(tokenizer.get_vocab().values())

    @property
    def limit(self) -> int:
        """Most tokens of an answer, by the prompt."""
        return self._mode.limit

    def begin(self, asked: Result, rows: Ids, until: float | None, limit: int) -> Writing:
        """What follows the question, of at most `limit` tokens."""
        writing = Writing.of(asked, rows, frozenset(self._mode.stop), limit)
        writing.until = until
        return writing

    def read(self, writing: Writing, labels: LabelRows | None) -> Outcome:
        """What a finished answer says."""
        tokens = len(writing.ids)
        text = self.text(writing.ids)
        if writing.reason:
            reason = Reason(writing.reason)
            return Outcome(text, None, None, reason, writing.message, tokens)
        stranger = next((i for i in writing.ids if not self._is_text(i)), None)
        try:
            if stranger is not None:
                raise MalformedAnswer(f"token {stranger} belongs into no answer")
            written = read_answer(self._answer, self._mode.begun + text)
        except MalformedAnswer as error:
            return Outcome(text, None, None, Reason.MALFORMED, str(error), tokens)
        return Outcome(text, written, self._margin(writing, written, labels), tokens=tokens)

    def text(self, ids: Sequence[int]) -> str:
        """The text of written ids; what the tokenizer and the answer do not know shows nothing."""
        runs = groupby(ids, key=self._special.get)
        return "".join(
            special * len(list(run)) if special else self._tokenizer.decode(list(run))
            for special, run in runs
        )

    def _is_text(self, token: int) -> bool:
        return token in self._vocabulary or token in self._special

    def _margin(self, writing: Writing, written: Written, labels: LabelRows | None) -> float | None:
        """That of the place where the first token of the label was chosen."""
        at = written.label_at - len(self._mode.begun)
        if labels is None or at < 0:
            return None
        low, high = (
            0,
            len(writing.ids),
        )  # the shortest beginning that shows the label's first letter
        while low < high:
            middle = (low + high) // 2
            if len(self.text(writing.ids[:middle])) > at:
                high = middle
            else:
                low = middle + 1
        return labels.margin(writing.logits[low - 1])
