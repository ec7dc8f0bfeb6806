"""The fields of a guard's diagnosis: what is read before the labels, and the labels' tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NoReturn

from stepguard.errors import TaxonomyError
from stepguard.taxonomy.catalogue import Taxonomy
from stepguard.taxonomy.dimensions import Dimension
from stepguard.taxonomy.trie import Trie

EXPORT_AGAIN = "Export again with --taxonomy FILE."


@dataclass(frozen=True, slots=True)
class Entry:
    """A label of a field. path: the token ids from the head's end to the end of its line."""

    id: str
    text: str
    path: tuple[int, ...]


@dataclass(frozen=True)
class Field:
    """One dimension. head: the token ids before the place where the labels begin to differ; `text`
    is what they say."""

    dimension: Dimension
    text: str
    head: tuple[int, ...]
    entries: tuple[Entry, ...]

    @cached_property
    def trie(self) -> Trie:
        """The trie of its labels."""
        return Trie.of({entry.id: entry.path for entry in self.entries})

    @cached_property
    def paths(self) -> Mapping[str, tuple[int, ...]]:
        """Label id -> path."""
        return {entry.id: entry.path for entry in self.entries}


@dataclass(frozen=True)
class Fields:
    """All dimensions of a guard, in the order in which it answers them.

    The first head continues the verdict's question, every other one the path of the chosen label
    before it. taxonomy: its name. lines: the name of the form in which the guard answers.
    """

    taxonomy: str
    lines: str
    fields: tuple[Field, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """The output rows that a diagnosis reads at its branches, ascending."""
        return tuple(sorted({row for field in self.fields for row in field.trie.rows}))

    @property
    def longest(self) -> int:
        """Most tokens from the question's end to the end of the last line."""
        paths = (max(map(len, field.paths.values())) for field in self.fields)
        return sum(len(field.head) for field in self.fields) + sum(paths)

    def restrict(self, taxonomy: Taxonomy) -> Fields:
        """The same with the labels of a taxonomy only.

        Raises TaxonomyError for a label that the guard was not exported with, or where fewer than
        two are left of a dimension.
        """
        kept = []
        for field in self.fields:
            have = {(entry.id, entry.text): entry for entry in field.entries}
            wanted = taxonomy.of(field.dimension)
            for label in wanted:
                if (label.id, label.text) not in have:
                    raise TaxonomyError(
                        f"taxonomy {taxonomy.name}: {field.dimension}",
                        expected=f"labels that the guard was exported with ({self.taxonomy})",
                        got=f"{label.id}: {label.text!r}",
                        fix=EXPORT_AGAIN,
                    )
            if len(wanted) > 1:
                entries = tuple(have[label.id, label.text] for label in wanted)
                kept.append(replace(field, entries=entries))
            elif wanted:
                _refuse(
                    f"taxonomy {taxonomy.name}: {field.dimension}", "at least two labels", "one"
                )
        order = [field.dimension for field in self.fields]
        if [field.dimension for field in kept] != order[: len(kept)] or not kept:
            # Every dimension is asked on the answer of the one before it.
            expected = f"labels of {', '.join(order)}, or of the first of them"
            _refuse(f"taxonomy {taxonomy.name}", expected, "others")
        return Fields(taxonomy.name, self.lines, tuple(kept))

    def to_manifest(self) -> dict[str, Any]:
        """Plain JSON values; `from_manifest` reads them back to an equal object."""
        return {
            "lines": self.lines,
            "fields": [
                {
                    "dimension": field.dimension.value,
                    "text": field.text,
                    "head": list(field.head),
                    "labels": [
                        {"id": entry.id, "text": entry.text, "path": list(entry.path)}
                        for entry in field.entries
                    ],
                }
                for field in self.fields
            ],
        }

    @classmethod
    def from_manifest(cls, taxonomy: str, data: object) -> Fields:
        """Raises TaxonomyError that names the entry at fault."""
        where = "diagnosis"
        value = _object(data, where, ("lines", "fields"))
        fields = [
            _field(item, f"{where}.fields[{i}]")
            for i, item in enumerate(_list(value["fields"], f"{where}.fields"))
        ]
        if len({field.dimension for field in fields}) < len(fields):
            _refuse(f"{where}.fields", "a dimension each", "one twice")
        found = cls(taxonomy, _text(value["lines"], f"{where}.lines"), tuple(fields))
        for field in fields:
            _ = field.trie  # contradictions are found now, not at the first diagnosis
        return found


def _field(data: object, where: str) -> Field:
    value = _object(data, where, ("dimension", "text", "head", "labels"))
    if value["dimension"] not in list(Dimension):
        _refuse(f"{where}.dimension", f"one of {', '.join(Dimension)}", repr(value["dimension"]))
    entries = [
        _entry(item, f"{where}.labels[{i}]")
        for i, item in enumerate(_list(value["labels"], f"{where}.labels"))
    ]
    if len({entry.id for entry in entries}) < len(entries):
        _refuse(f"{where}.labels", "an id each", "one twice")
    text, head = _text(value["text"], f"{where}.text"), _ids(value["head"], f"{where}.head")
    return Field(Dimension(value["dimension"]), text, head, tuple(entries))


def _entry(data: object, where: str) -> Entry:
    value = _object(data, where, ("id", "text", "path"))
    return Entry(
        _text(value["id"], f"{where}.id"),
        _text(value["text"], f"{where}.text"),
        _ids(value["path"], f"{where}.path"),
    )


def _object(data: object, where: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(data, dict) or sorted(data) != sorted(keys):
        _refuse(where, f"the keys {', '.join(keys)}", repr(data)[:80])
    return data


def _list(data: object, where: str) -> list[Any]:
    if not isinstance(data, list) or not data:
        _refuse(where, "a list, not empty", repr(data)[:80])
    return data


def _text(data: object, where: str) -> str:
    if not isinstance(data, str) or not data:
        _refuse(where, "a string, not empty", repr(data)[:80])
    return data


def _ids(data: object, where: str) -> tuple[int, ...]:
    ids = _list(data, where)
    if not all(type(i) is int and 0 <= i < 2**31 for i in ids):
        _refuse(where, "token ids", repr(data)[:80])
    return tuple(ids)


def _refuse(where: str, expected: str, got: str) -> NoReturn:
    raise TaxonomyError(where, expected=expected, got=got)
