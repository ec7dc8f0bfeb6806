"""Reading JSON objects into frozen dataclasses; an error names the path of the field."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from stepguard.errors import ModelFormatError

FILE = "manifest.json"
REPAIR = "Export the model again."
_DEEPEST = 64  # levels of a manifest: far more than any has, far less than Python can walk


class Is(NamedTuple):
    """A condition beyond the type (`Annotated[int, Is(...)]`), and how a message calls it."""

    test: Callable[[Any], bool]
    expected: str


def plain(value: Any) -> Any:
    """What JSON has for dataclasses and tuples; an absent optional field is left out."""
    if dataclasses.is_dataclass(value):
        pairs = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {
            field.name: plain(item)
            for field, item in pairs
            if item is not None or field.default is dataclasses.MISSING
        }
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def wrong(path: str, expected: str, got: object) -> ModelFormatError:
    """The error for a field."""
    shown = "nothing" if got is None else json.dumps(got, default=repr)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    where = f"{FILE}: {path}" if path else FILE
    return ModelFormatError(where, expected=expected, got=shown, fix=REPAIR)


def check_tree(value: object, path: tuple[str | int, ...] = ()) -> None:
    """What holds for every part, those that other rooms read too: JSON could not say it otherwise.

    Raises:
        ModelFormatError: a number that is not finite, or more than 64 levels.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong(_joined(path), _SCALARS[float], value)
    if not isinstance(value, dict | list):
        return
    if len(path) == _DEEPEST:
        raise wrong(_joined(path), f"at most {_DEEPEST} levels", "more")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        check_tree(item, (*path, key))


def _joined(path: tuple[str | int, ...]) -> str:
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return "".join(parts).removeprefix(".")


_SCALARS: dict[Any, str] = {
    str: "a string",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
}


def _read(kind: Any, value: object, path: str) -> Any:
    """`value` as `kind` (a type annotation of this file), checked all the way down."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found, condition = _read(arguments[0], value, path), arguments[1]
        if not condition.test(found):
            raise wrong(path, condition.expected, value)
        return found
    if origin in (Union, UnionType):  # always "or null"
        return None if value is None else _read(arguments[0], value, path)
    if origin is Literal:
        if value not in arguments:
            raise wrong(path, f"one of {', '.join(arguments)}", value)
        return value
    if origin is Mapping:
        return _read_mapping(arguments, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise wrong(path, "a list", value)
        items = enumerate(value)
        return tuple(_read(arguments[0], item, f"{path}[{index}]") for index, item in items)
    if kind in _SCALARS:
        return _read_scalar(kind, value, path)
    return value if kind is Any else read_object(kind, value, path)


def _read_scalar(kind: Any, value: Any, path: str) -> Any:
    if type(value) is kind and (kind is not float or math.isfinite(value)):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            return float(value)
    raise wrong(path, _SCALARS[kind], value)


def _read_mapping(kinds: tuple[Any, ...], value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(path, "an object", value)
    key_kind, item_kind = kinds
    prefix = f"{path}." if path else ""
    return {
        _read(key_kind, key, f"{path} (a key)"): _read(item_kind, item, f"{prefix}{key}")
        for key, item in value.items()
    }


def read_object(kind: Any, value: object, path: str) -> Any:
    """A dataclass from an object that has its fields and no others."""
    if not isinstance(value, dict):
        raise wrong(path, "an object", value)
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    prefix = f"{path}." if path else ""
    for name in sorted(value.keys() - fields.keys()):
        raise wrong(f"{prefix}{name}", "no such field", value[name])
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING:
            raise wrong(f"{prefix}{name}", "a value", None)
    return kind(**{name: _read(hints[name], value[name], prefix + name) for name in value})
