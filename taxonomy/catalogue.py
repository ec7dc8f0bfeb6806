"""Taxonomies: labels by dimension, found by id, text and alias."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stepguard.errors import TaxonomyError
from stepguard.taxonomy.dimensions import Dimension, Label
from stepguard.taxonomy.failure_modes import FAILURE_MODES
from stepguard.taxonomy.harms import REAL_WORLD_HARMS
from stepguard.taxonomy.risk_sources import RISK_SOURCES

LABELS = (*RISK_SOURCES, *FAILURE_MODES, *REAL_WORLD_HARMS)

# What each name that `shipped` knows holds, by the setting in which a label was introduced.
SHIPPED = {
    "base": ("base",),
    "claw": ("base", "claw"),
    "codex": ("base", "codex"),
    "all": ("base", "claw", "codex"),
}
_FIX = "Give every label of a dimension an id, a text and aliases that no other has."


@dataclass(frozen=True)
class Taxonomy:
    """Labels under one name. Raises TaxonomyError when they cannot be told apart."""

    name: str
    labels: tuple[Label, ...]
    _found: dict[tuple[Dimension, str], Label] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for label in self.labels:
            where = f"taxonomy {self.name}: {label.dimension}: {label.id or 'a label'}"
            for name, value in (("id", label.id), ("label", label.text)):
                if not value.strip() or value != value.strip():
                    expected = "text without white space at its ends"
                    raise TaxonomyError(f"{where}: {name}", expected=expected, got=repr(value))
            if not all(alias.strip() for alias in label.aliases):
                raise TaxonomyError(f"{where}: aliases", expected="texts, not empty", got="''")
            for key in dict.fromkeys(_keys(label)):
                other = self._found.setdefault((label.dimension, key), label)
                if other is not label:
                    what = "id" if other.id == label.id else "label"
                    got = f"{key!r} twice"
                    raise TaxonomyError(
                        f"{where}: {what}", expected="one of its own", got=got, fix=_FIX
                    )

    def of(self, dimension: Dimension) -> tuple[Label, ...]:
        """The labels of a dimension, in their order."""
        return tuple(label for label in self.labels if label.dimension is dimension)

    def find(self, dimension: Dimension, name: str) -> Label | None:
        """The label that has this id, text or alias; case and outer white space do not count."""
        return self._found.get((dimension, _key(name)))


def shipped(name: str) -> Taxonomy:
    """A taxonomy of this package: "base" (32 labels), "claw", "codex" or "all" (47).

    Raises TaxonomyError for another name.

    >>> len(shipped("base").labels), len(shipped("all").labels)
    (32, 47)
    >>> shipped("all").find(Dimension.FAILURE_MODE, "choosing malicious tools").id
    'choosing_malicious_tool'
    """
    if name not in SHIPPED:
        raise TaxonomyError("taxonomy", expected=f"one of {', '.join(SHIPPED)}", got=repr(name))
    return Taxonomy(name, tuple(label for label in LABELS if label.setting in SHIPPED[name]))


def _keys(label: Label) -> Iterable[str]:
    return (_key(name) for name in (label.id, label.text, *label.aliases))


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()
