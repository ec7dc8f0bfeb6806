"""Small helpers over values that come from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepguard.errors import TrajectoryError


def kind(value: object) -> str:
    """What a value is, in words for a message."""
    if isinstance(value, Mapping):
        names = ", ".join(repr(key)[:40] for key in list(value)[:8])
        return f"an object with the keys {names}" if names else "an empty object"
    names_of = {"NoneType": "null", "list": "a list", "str": "a string"}
    return names_of.get(type(value).__name__, type(value).__name__)


def plain(value: object) -> Mapping[str, Any] | None:
    """A mapping as it is, an object of a client library as one (by its `model_dump`), else None."""
    if isinstance(value, Mapping):
        return value
    try:
        dump = getattr(value, "model_dump", None)
        if not callable(dump) or isinstance(value, type):
            return None
        found = dump(exclude_none=True)
    except Exception:  # it only looks like one, or is broken
        return None
    return found if isinstance(found, Mapping) else None


def mapping(value: object, where: str, expected: str) -> Mapping[str, Any]:
    """The same. Raises TrajectoryError where it is none."""
    found = plain(value)
    if found is None:
        raise TrajectoryError(where, expected=expected, got=kind(value))
    return found


def listed(value: object, where: str, expected: str) -> Sequence[Any]:
    """A list; None is an empty one. Raises TrajectoryError."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise TrajectoryError(where, expected=expected, got=kind(value))
    return value


def empty(value: object) -> bool:
    """Whether nothing is lost with it. Asks no object that may have its own idea of being equal."""
    nothing = isinstance(value, str | list | tuple | dict) and not value
    return value is None or value is False or nothing


def json_text(value: object, where: str) -> str:
    """A value as JSON, what JSON does not know as `str` prints it. Raises TrajectoryError."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_other)
    except Exception as error:  # too deep, cyclic, or an object whose own printing fails
        got = f"{kind(value)} that cannot be printed ({type(error).__name__})"
        raise TrajectoryError(where, expected="a value of JSON", got=got) from error


def _other(value: object) -> object:
    found = plain(value)
    return str(value) if found is None else dict(found)
