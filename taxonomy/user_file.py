"""Taxonomies of one's own, from a JSON file.

    {"name": "acme", "extends": "base",
     "labels": [{"dimension": "real_world_harm", "id": "brand_harm", "label": "Brand Harm",
                 "gist": "Customers see something that they should not.", "aliases": []}]}

`extends` is a shipped taxonomy whose labels come first; without it there are only the file's own.
`aliases` may be left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from stepguard.errors import TaxonomyError
from stepguard.taxonomy.catalogue import SHIPPED, Taxonomy, shipped
from stepguard.taxonomy.dimensions import Dimension, Label

_MOST_BYTES = 1 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_FIX = "Correct the taxonomy file."


def taxonomy_of(value: str | Path | Taxonomy) -> Taxonomy:
    """A taxonomy as it is, a shipped one by its name, or one from a file.

    Raises TaxonomyError that names the place in the file.
    """
    if isinstance(value, Taxonomy):
        return value
    if isinstance(value, str) and value in SHIPPED:
        return shipped(value)
    return read_taxonomy(Path(value))


def read_taxonomy(path: Path) -> Taxonomy:
    """The taxonomy of a file. Raises TaxonomyError that names the place in it."""
    where = str(path)
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            _refuse(where, f"at most {_MOST_BYTES} bytes", "more")
    except OSError as error:
        expected = f"a JSON file, or one of {', '.join(SHIPPED)}"
        raise TaxonomyError(where, expected=expected, got=str(error)[:200], fix=_FIX) from error
    return parse_taxonomy(text, where)


def parse_taxonomy(text: str | bytes, where: str = "taxonomy file") -> Taxonomy:
    """The taxonomy of a file's text. Raises TaxonomyError that names the place in it."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        got = str(error)[:200]
        raise TaxonomyError(where, expected="a JSON file", got=got, fix=_FIX) from error
    return _taxonomy(data, where)


def _taxonomy(data: object, where: str) -> Taxonomy:
    value = _object(data, where, ("name", "labels"), ("extends",))
    name, extends = _name(value["name"], f"{where}: name"), value.get("extends")
    if name in SHIPPED:
        _refuse(f"{where}: name", "a name that no shipped taxonomy has", repr(name))
    if extends is not None and (not isinstance(extends, str) or extends not in SHIPPED):
        _refuse(f"{where}: extends", f"one of {', '.join(SHIPPED)}", repr(extends)[:80])
    own = [
        _label(item, f"{where}: labels[{i}]")
        for i, item in enumerate(_list(value["labels"], f"{where}: labels"))
    ]
    if not own:
        _refuse(f"{where}: labels", "at least one label", "none")
    return Taxonomy(name, (*(shipped(extends).labels if extends else ()), *own))


def _label(data: object, where: str) -> Label:
    value = _object(data, where, ("dimension", "id", "label", "gist"), ("aliases",))
    if value["dimension"] not in list(Dimension):
        expected = f"one of {', '.join(Dimension)}"
        _refuse(f"{where}.dimension", expected, repr(value["dimension"])[:80])
    aliases = _list(value.get("aliases", []), f"{where}.aliases")
    return Label(
        Dimension(value["dimension"]),
        _name(value["id"], f"{where}.id"),
        _line(value["label"], f"{where}.label"),
        _line(value["gist"], f"{where}.gist"),
        setting="own",
        aliases=tuple(_line(item, f"{where}.aliases[{i}]") for i, item in enumerate(aliases)),
    )


def _object(
    data: object, where: str, needed: Sequence[str], optional: Sequence[str]
) -> dict[str, Any]:
    if not isinstance(data, dict):
        _refuse(where, f"an object with {', '.join(needed)}", repr(data)[:80])
    for key in needed:
        if key not in data:
            _refuse(where, f"the key {key!r}", ", ".join(map(repr, data))[:80] or "none")
    for key in data:
        if key not in (*needed, *optional):
            _refuse(where, f"only the keys {', '.join((*needed, *optional))}", repr(key)[:80])
    return data


def _list(data: object, where: str) -> list[Any]:
    if not isinstance(data, list):
        _refuse(where, "a list", repr(data)[:80])
    return data


def _name(data: object, where: str) -> str:
    if not isinstance(data, str) or not _NAME.fullmatch(data):
        _refuse(where, "lower-case letters, digits, _ and -, at most 100", repr(data)[:80])
    return data


def _line(data: object, where: str) -> str:
    """Text of one line. A label with a line break would end its line in the guard's answer."""
    if not isinstance(data, str) or not data.strip():
        _refuse(where, "text, not empty", repr(data)[:80])
    if data != data.strip() or not data.isprintable() or len(data) > 200:
        _refuse(where, "one line of at most 200 characters, no blanks around it", repr(data)[:80])
    return data


def _refuse(where: str, expected: str, got: str) -> NoReturn:
    raise TaxonomyError(where, expected=expected, got=got, fix=_FIX)
