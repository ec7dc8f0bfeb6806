"""`Mode`: one way in which a model is asked, and the labels that are read there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stepguard.errors import PromptError
from stepguard.prompt.answers import RATIONALE
from stepguard.prompt.entries import check_kind, read_entries
from stepguard.prompt.pieces import Piece, pieces_from_manifest, token_ids

LABELS = ("safe", "unsafe")


@dataclass(frozen=True, slots=True)
class Spelling:
    """One accepted way to write a label: its text and the ids after the question's last id."""

    text: str
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to get an answer.

    `question` stands behind the steps, up to the token where the verdict is read or the answer
    begins; the profile may stand in it. `labels` are empty where no verdict is read by logits.
    `thinking` says whether the chat template was told to let the model think. For a written answer:
    `begun` is what of it the question holds already, `special` are ids that may stand in it beside
    those of the tokenizer, `stop` are the ids that end it, `limit` is how many tokens it may have.
    """

    question: tuple[Piece, ...]
    labels: Mapping[str, tuple[Spelling, ...]]
    thinking: bool
    begun: str = ""
    special: Mapping[str, int] = field(default_factory=dict)
    stop: tuple[int, ...] = ()
    limit: int = 0

    @property
    def row_ids(self) -> tuple[int, ...]:
        """The output rows that a verdict reads, ascending: the first id of every spelling."""
        return tuple(sorted({s.path[0] for group in self.labels.values() for s in group}))

    def to_manifest(self) -> dict[str, object]:
        return {
            "question": [piece.to_manifest() for piece in self.question],
            "labels": {
                label: [{"text": s.text, "path": list(s.path)} for s in spellings]
                for label, spellings in self.labels.items()
            },
            "thinking": self.thinking,
            "begun": self.begun,
            "special": dict(self.special),
            "stop": list(self.stop),
            "limit": self.limit,
        }

    @staticmethod
    def from_manifest(data: object, name: str, *, read: bool) -> Mode:
        """`read`: whether it has labels. Raises PromptError that names the entry at fault."""
        where = f"prompt.modes.{name}"
        entries = read_entries(data, list(Mode.__dataclass_fields__), where)
        for key, kind in (("thinking", bool), ("begun", str), ("limit", int)):
            check_kind(entries[key], kind, f"{where}.{key}")
        if (entries["limit"] > 0) != (name == RATIONALE):
            expected = "a positive number" if name == RATIONALE else "0: nothing is written"
            got = str(entries["limit"])
            raise PromptError(f"{where}.limit", expected=expected, got=got)
        return Mode(
            question=pieces_from_manifest(entries["question"], f"{where}.question"),
            labels=_labels(entries["labels"], where, read=read),
            thinking=entries["thinking"],
            begun=entries["begun"],
            special=_special(entries["special"], f"{where}.special"),
            stop=token_ids(entries["stop"], f"{where}.stop", empty=name != RATIONALE),
            limit=entries["limit"],
        )


def _special(data: object, where: str) -> dict[str, int]:
    if not isinstance(data, dict) or not all(isinstance(text, str) and text for text in data):
        raise PromptError(where, expected="an object of token ids", got=repr(data)[:80])
    ids = token_ids(list(data.values()), where, empty=True)
    return dict(zip(data, ids, strict=True))


def _labels(data: object, where: str, *, read: bool) -> dict[str, tuple[Spelling, ...]]:
    where = f"{where}.labels"
    if not read:
        if data != {}:
            raise PromptError(where, expected="none: no label is read", got=repr(data)[:80])
        return {}
    if not isinstance(data, dict) or sorted(data) != sorted(LABELS):
        raise PromptError(where, expected=f"the labels {', '.join(LABELS)}", got=repr(data)[:80])
    labels = {label: _spellings(data[label], f"{where}.{label}") for label in LABELS}
    first = {label: {s.path[0] for s in group} for label, group in labels.items()}
    if first["safe"] & first["unsafe"]:
        got = f"{sorted(first['safe'] & first['unsafe'])} in both"
        raise PromptError(where, expected="labels that differ in their first id", got=got)
    return labels


def _spellings(data: object, where: str) -> tuple[Spelling, ...]:
    if not isinstance(data, list) or not data:
        raise PromptError(where, expected="at least one spelling", got=repr(data)[:80])
    spellings = []
    for i, entry in enumerate(data):
        good = isinstance(entry, dict) and sorted(entry) == ["path", "text"]
        if not good or not isinstance(entry["text"], str):
            raise PromptError(f"{where}[{i}]", expected="'text' and 'path'", got=repr(entry)[:80])
        spellings.append(Spelling(entry["text"], token_ids(entry["path"], f"{where}[{i}].path")))
    return tuple(spellings)
