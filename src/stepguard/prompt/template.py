"""`Prompt`: everything that the manifest says about how a model is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stepguard.errors import PromptError
from stepguard.prompt.answers import ANSWERS, DIAGNOSIS, FIRST_TOKEN, FORCED, RATIONALE
from stepguard.prompt.entries import check_kind, check_known, read_entries
from stepguard.prompt.forgery import Delimiters
from stepguard.prompt.forms import Form
from stepguard.prompt.mode import Mode, Spelling
from stepguard.prompt.pieces import Piece, pieces_from_manifest

MODES = (FIRST_TOKEN, FORCED, RATIONALE, DIAGNOSIS)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as data: prefix, the form of the steps, the modes, and delimiters.

    `name` is the official file's name, `short` or `custom`; `sha256` that of the template's text,
    `taxonomy_sha256` that of the text in its place for a taxonomy ("" without); `official` says
    whether the text is one that published accuracy was measured with. `answer` names the form of
    the answer; `mode` is the one of `modes` that is used.
    """

    name: str
    official: bool
    sha256: str
    taxonomy_sha256: str
    answer: str
    mode: str
    form: Form
    prefix: tuple[Piece, ...]
    modes: Mapping[str, Mode]
    delimiters: Delimiters

    @property
    def id(self) -> str:
        """Names the text, its taxonomy included: a sha256."""
        if not self.taxonomy_sha256:
            return self.sha256
        return hashlib.sha256(f"{self.sha256} {self.taxonomy_sha256}".encode()).hexdigest()

    @property
    def asked(self) -> str:
        """Names all of it that a margin of the mode depends on: a sha256.

        One text may be asked in several ways: in other chats, with thoughts or without, with
        other labels.
        """
        value = {**self.to_manifest(), "modes": {self.mode: self.modes[self.mode].to_manifest()}}
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

    @property
    def question(self) -> tuple[Piece, ...]:
        """That of the mode."""
        return self.modes[self.mode].question

    @property
    def labels(self) -> Mapping[str, tuple[Spelling, ...]]:
        """Those of the mode."""
        return self.modes[self.mode].labels

    @property
    def row_ids(self) -> tuple[int, ...]:
        """The output rows that any mode reads, ascending."""
        return tuple(sorted({row for mode in self.modes.values() for row in mode.row_ids}))

    @property
    def gives_verdicts(self) -> bool:
        """False for a guard that only diagnoses."""
        return DIAGNOSIS not in self.modes

    @property
    def after_steps(self) -> str:
        """The fixed text that the question opens with, before its first id or the profile."""
        return self.question[0].text if self.question and not self.question[0].ids else ""

    @property
    def split_prefix(self) -> tuple[tuple[Piece, ...], str | None]:
        """The pieces before the profile, and the text behind it; None where it is not there."""
        at = next((i for i, piece in enumerate(self.prefix) if piece.profile), None)
        if at is None:
            return self.prefix, None
        return self.prefix[:at], "".join(piece.text for piece in self.prefix[at + 1 :])

    def in_mode(self, mode: str) -> Prompt:
        """The same, asked in another way. Raises PromptError for a mode that it has not."""
        if mode not in self.modes:
            names = ", ".join(self.modes)
            fix = "Choose one of them, or export the checkpoint with a prompt that has it."
            raise PromptError("mode", expected=f"one of {names}", got=repr(mode)[:80], fix=fix)
        return replace(self, mode=mode)

    def to_manifest(self) -> dict[str, object]:
        """Plain JSON values; `Prompt.from_manifest` reads them back to an equal prompt."""
        return {
            "name": self.name,
            "official": self.official,
            "sha256": self.sha256,
            "taxonomy_sha256": self.taxonomy_sha256,
            "answer": self.answer,
            "mode": self.mode,
            "form": self.form.to_manifest(),
            "prefix": [piece.to_manifest() for piece in self.prefix],
            "modes": {name: mode.to_manifest() for name, mode in self.modes.items()},
            "delimiters": self.delimiters.to_manifest(),
        }

    @staticmethod
    def from_manifest(data: object) -> Prompt:
        """Raises PromptError that names the entry at fault."""
        entries = read_entries(data, list(Prompt.__dataclass_fields__), "prompt")
        texts = ("name", "sha256", "taxonomy_sha256", "answer", "mode")
        for name, kind in (("official", bool), *((text, str) for text in texts)):
            check_kind(entries[name], kind, f"prompt.{name}")
        check_known(entries["answer"], ANSWERS, "prompt.answer")
        modes = entries["modes"]
        if not isinstance(modes, dict) or not modes:
            raise PromptError("prompt.modes", expected="at least one mode", got=repr(modes)[:80])
        for name in modes:
            check_known(name, MODES, "prompt.modes (a key)")
        check_known(entries["mode"], modes, "prompt.mode")
        prefix = pieces_from_manifest(entries["prefix"], "prompt.prefix")
        prompt = Prompt(
            name=entries["name"],
            official=entries["official"],
            sha256=entries["sha256"],
            taxonomy_sha256=entries["taxonomy_sha256"],
            answer=entries["answer"],
            mode=entries["mode"],
            form=Form.from_manifest(entries["form"]),
            prefix=prefix,
            modes={
                name: Mode.from_manifest(mode, name, read=DIAGNOSIS not in modes)
                for name, mode in modes.items()
            },
            delimiters=Delimiters.from_manifest(entries["delimiters"]),
        )
        check_places(prompt)
        return prompt


def check_places(prompt: Prompt) -> None:
    """The profile stands once at most, in text, and all modes ask behind the same steps.

    Raises PromptError.
    """
    openings = {(mode.question[:1], _places(mode.question)) for mode in prompt.modes.values()}
    if len(openings) > 1:
        expected = "questions that open with the same text in every mode"
        raise PromptError("prompt.modes", expected=expected, got="others")
    for name, mode in prompt.modes.items():
        pieces = (*prompt.prefix, *mode.question)
        if sum(piece.profile for piece in pieces) > 1:
            raise PromptError(f"prompt of mode {name}", expected="one profile", got="more")
        _check_opening(mode.question, f"prompt.modes.{name}.question")
    at = next((i for i, piece in enumerate(prompt.prefix) if piece.profile), len(prompt.prefix))
    if any(piece.ids for piece in prompt.prefix[at:]):
        expected = "only text between the profile and the steps"
        raise PromptError("prompt.prefix", expected=expected, got="token ids")


def _places(question: tuple[Piece, ...]) -> tuple[int, ...]:
    return tuple(i for i, piece in enumerate(question) if piece.profile)


def _check_opening(question: tuple[Piece, ...], where: str) -> None:
    at = next((i for i, piece in enumerate(question) if piece.profile), 0)
    if any(piece.ids for piece in question[:at]):
        expected = "only text between the steps and the profile"
        raise PromptError(where, expected=expected, got="token ids")
