"""`Prompt`: everything that the manifest says about how a model is asked, and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stepguard.errors import PromptError
from stepguard.prompt.forgery import Delimiters
from stepguard.prompt.forms import Form
from stepguard.prompt.pieces import Piece, pieces_from_manifest, token_ids

__all__ = ["LABELS", "Prompt", "Spelling"]

LABELS = ("safe", "unsafe")
MODES = ("first_token",)


@dataclass(frozen=True, slots=True)
class Spelling:
    """One accepted way to write a label: its text and the ids after the question's last id."""

    text: str
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as data: prefix, the form of the steps, question, labels and delimiters.

    `name` is the official file's name, `short` or `custom`; `sha256` that of the template's text;
    `official` says whether the text is one that published accuracy was measured with.
    """

    name: str
    official: bool
    sha256: str
    mode: str
    form: Form
    prefix: tuple[Piece, ...]
    question: tuple[Piece, ...]
    labels: Mapping[str, tuple[Spelling, ...]]
    delimiters: Delimiters

    @property
    def row_ids(self) -> tuple[int, ...]:
        """The output rows that a verdict reads, ascending: the first id of every spelling."""
        return tuple(sorted({s.path[0] for group in self.labels.values() for s in group}))

    @property
    def after_steps(self) -> str:
        """The text that the question opens with, before its first id."""
        return self.question[0].text if self.question and not self.question[0].ids else ""

    def to_manifest(self) -> dict[str, object]:
        """Plain JSON values; `Prompt.from_manifest` reads them back to an equal prompt."""
        return {
            "name": self.name,
            "official": self.official,
            "sha256": self.sha256,
            "mode": self.mode,
            "form": self.form.to_manifest(),
            "prefix": [piece.to_manifest() for piece in self.prefix],
            "question": [piece.to_manifest() for piece in self.question],
            "labels": {
                label: [{"text": s.text, "path": list(s.path)} for s in self.labels[label]]
                for label in LABELS
            },
            "delimiters": self.delimiters.to_manifest(),
        }

    @staticmethod
    def from_manifest(data: object) -> Prompt:
        """Raises PromptError that names the entry at fault."""
        names = list(Prompt.__dataclass_fields__)
        if not isinstance(data, dict) or sorted(data) != sorted(names):
            got = ", ".join(map(str, data)) if isinstance(data, dict) else repr(data)[:80]
            raise PromptError("prompt", expected=f"the keys {', '.join(names)}", got=got)
        for name, kind in (("name", str), ("official", bool), ("sha256", str), ("mode", str)):
            if not isinstance(data[name], kind):
                got = repr(data[name])[:80]
                raise PromptError(f"prompt.{name}", expected=f"a {kind.__name__}", got=got)
        if data["mode"] not in MODES:
            fix = "A newer stepguard may know it."
            got = repr(data["mode"])[:80]
            raise PromptError("prompt.mode", expected=" or ".join(MODES), got=got, fix=fix)
        return Prompt(
            name=data["name"],
            official=data["official"],
            sha256=data["sha256"],
            mode=data["mode"],
            form=Form.from_manifest(data["form"]),
            prefix=pieces_from_manifest(data["prefix"], "prompt.prefix"),
            question=pieces_from_manifest(data["question"], "prompt.question"),
            labels=_labels(data["labels"]),
            delimiters=Delimiters.from_manifest(data["delimiters"]),
        )


def _labels(data: object) -> dict[str, tuple[Spelling, ...]]:
    where = "prompt.labels"
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
