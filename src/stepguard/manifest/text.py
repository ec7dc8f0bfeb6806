"""The text of a manifest.json: bounded, strict JSON, of a known format."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from stepguard.errors import ModelFormatError
from stepguard.manifest.reading import FILE, REPAIR, wrong

_MOST_BYTES = 16 << 20


def read_text(folder: Path, expected: str, fix: str) -> bytes:
    """The bytes of a folder's manifest.json. Raises ModelFormatError with these words."""
    path = folder / FILE
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise ModelFormatError(str(path), expected=expected, got=got, fix=fix) from error
    if len(text) > _MOST_BYTES:
        raise ModelFormatError(
            str(path), expected=f"at most {_MOST_BYTES} bytes", got="more", fix=REPAIR
        )
    return text


def parse(text: str | bytes) -> Any:
    """The JSON of a manifest. Raises ModelFormatError."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(
            FILE, expected="JSON", got=str(error) or type(error).__name__, fix=REPAIR
        ) from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {name!r} stands twice in one object")
    return result


def check_format(value: object, name: str, newest: int) -> None:
    """Raises ModelFormatError unless it is an object of this format, no newer than `newest`."""
    if not isinstance(value, dict):
        raise wrong("", "an object", value)
    if value.get("format") != name:
        raise wrong("format", repr(name), value.get("format"))
    version = value.get("format_version")
    if type(version) is not int or version < 1:
        raise wrong("format_version", f"a whole number from 1 to {newest}", version)
    if version > newest:
        raise ModelFormatError(
            f"{FILE}: format_version",
            expected=f"at most {newest}",
            got=f"{version}: made by a newer stepguard",
            fix="Upgrade: pip install -U stepguard",
        )
