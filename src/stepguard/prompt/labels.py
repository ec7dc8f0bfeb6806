"""Where a verdict is read: the end of the question, and the ids by which the labels differ.

A frame has no fixed last token: the tokenizer may merge its end with the label. So every label is
encoded behind the question; what all labels have in common belongs to the question, the rest is the
label's path, and the verdict is read at its first id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from stepguard.errors import PromptError
from stepguard.prompt.answers import WORD, Label
from stepguard.prompt.mode import LABELS, Spelling
from stepguard.prompt.pieces import Piece, common_length
from stepguard.prompt.stream import advance, encode

__all__ = ["open_end", "place_labels"]

Labels = dict[str, tuple[Spelling, ...]]


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A spelling behind the open end of the question: its ids, of which `own` begin in it."""

    text: str
    ids: list[int]
    own: int


def place_labels(
    question: Sequence[Piece],
    terminator: Piece | None,
    tokenizer: Tokenizer,
    spellings: Mapping[str, Sequence[Label]] = WORD.labels,
) -> tuple[tuple[Piece, ...], Labels]:
    """The question, with what all labels begin with moved into it, and the labels' paths.

    The last piece of the question is a frame where it is text behind other pieces. `terminator` is
    what ends an answer, if known. An additional spelling that does not fit, because it begins
    otherwise than the first ones or like one of the other label, is left out. Raises PromptError
    where no single place tells the labels apart.
    """
    before, stable, open_text = open_end(question, tokenizer)
    end = list(terminator.ids) if terminator else []
    encoded = {
        label: [_spelling(tokenizer, open_text, spelling, end) for spelling in spellings[label]]
        for label in LABELS
    }
    safe, unsafe = (encoded[label][0].ids for label in LABELS)
    shared = safe[: common_length(safe, unsafe)]
    if len(shared) >= min(len(safe), len(unsafe)):
        got = " and ".join(repr(spellings[label][0].text) for label in LABELS)
        raise PromptError("labels", expected="labels that differ in an id", got=got)
    labels = _paths(encoded, shared)
    if shared == encode(tokenizer, open_text):
        return tuple(question), labels
    end_pieces = (Piece(stable), Piece(tokenizer.decode(shared), tuple(shared)))
    return (*before, *(piece for piece in end_pieces if piece.text or piece.ids)), labels


def open_end(question: Sequence[Piece], tokenizer: Tokenizer) -> tuple[Sequence[Piece], str, str]:
    """The question as: whole pieces, text that is final, text that labels may still change."""
    if not question or question[-1].ids:
        return question, "", ""
    text = question[-1].text
    held = advance(tokenizer, "", text).held
    stable = text[: len(text) - len(held)]
    if not stable and len(question) == 1:
        # Its ids would depend on the last step, and so would the place of the verdict.
        fix = "Let the prompt end in a longer question, or use a chat template with special tokens."
        raise PromptError("question", expected="a fixed end", got=repr(text)[:80], fix=fix)
    return question[:-1], stable, held


def _spelling(tokenizer: Tokenizer, open_text: str, label: Label, end: list[int]) -> _Encoded:
    encoding = tokenizer.encode(open_text + label.text + label.end, add_special_tokens=False)
    length = len(open_text) + len(label.text)
    own = sum(start < length for start, _ in encoding.offsets)
    return _Encoded(label.text, [*encoding.ids, *([] if label.end else end)], own)


def _paths(encoded: dict[str, list[_Encoded]], shared: list[int]) -> Labels:
    n = len(shared)
    first = {label: encoded[label][0].ids[n] for label in LABELS}
    labels: Labels = {}
    for label, other in zip(LABELS, reversed(LABELS), strict=True):
        theirs = {s.ids[n] for s in encoded[other] if s.ids[:n] == shared and len(s.ids) > n}
        kept = [
            Spelling(s.text, tuple(s.ids[n : max(s.own, n + 1)]))
            for s in encoded[label]
            if s.ids[:n] == shared
            and len(s.ids) > n
            and (s.ids[n] == first[label] or s.ids[n] not in theirs)
        ]
        labels[label] = tuple(s for s in kept if s.path[0] != first[other])
    return labels
