"""Content of a message: text, a list of parts, or an object; and what of it has no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.messages.transcript import Uncovered
from stepguard.messages.values import empty, json_text, kind, plain

# Parts whose text stands under another key than "text".
_TEXT_KEYS = {"refusal": "refusal", "thinking": "thinking", "reasoning": "reasoning"}
_AS_JSON = ("search_result", "web_search_result", "json")
_SETTINGS = {
    "type", "text", "id", "index", "annotations", "citations", "cache_control", "logprobs",
    "signature", "extras", "phase", "status", "mime_type", "metadata", "parsed",
}  # fmt: skip

EXPECTED = "text, a list of parts or an object"


@dataclass(frozen=True, slots=True)
class Read:
    """Content as `Step.user` takes it; what it does not show, and how many keys beside the text."""

    content: object
    uncovered: tuple[Uncovered, ...] = ()
    beside: int = 0


def parts_of(content: object, where: str) -> list[tuple[object, str]]:
    """The parts of a message's content, each with its place; a string or an object is one part.

    Raises:
        TrajectoryError: it is neither of these.
    """
    if isinstance(content, str):
        return [(content, where)]
    if isinstance(content, list | tuple):
        return [(part, f"{where}[{i}]") for i, part in enumerate(content)]
    if (found := plain(content)) is not None:
        return [(found, where)]
    raise TrajectoryError(where, expected=EXPECTED, got=kind(content))


def part_text(part: object, where: str) -> str | None:
    """The text of a part, or None where it has none. Raises TrajectoryError for what is no part."""
    if isinstance(part, str):
        return part
    found = plain(part)
    if found is None:
        raise TrajectoryError(where, expected="a part: text or an object", got=kind(part))
    named = found.get("type")
    if not isinstance(named, str):
        return json_text(found, where)
    text = found.get(_TEXT_KEYS.get(named, "text"))
    if isinstance(text, str):
        return text
    return _document(named, found, where)


def type_of(part: object) -> str:
    """The type of a part, "" for plain text."""
    found = plain(part)
    named = None if found is None else found.get("type")
    return named if isinstance(named, str) else ""


def _document(named: str, part: Mapping[str, Any], where: str) -> str | None:
    """Of the parts that carry text below: a document, a search result, a resource, JSON."""
    if named == "document" and isinstance(source := part.get("source"), Mapping):
        data = source.get("data")
        if source.get("type") != "text" or not isinstance(data, str):
            return None
        around = [part[key] for key in ("title", "context") if isinstance(part.get(key), str)]
        return "\n".join([*around, data])
    if named in _AS_JSON:
        left = {*_SETTINGS, "encrypted_content"}
        return json_text({k: v for k, v in part.items() if k not in left}, where)
    if named == "resource" and isinstance(resource := part.get("resource"), Mapping):
        return json_text(resource, where) if isinstance(resource.get("text"), str) else None
    return None


def read_content(content: object, where: str) -> Read:
    """Content of a user, a tool or the system. Raises what `parts_of` raises."""
    if isinstance(content, str):
        return Read(content)
    return read_parts(parts_of(content, where))


def read_parts(parts: list[tuple[object, str]]) -> Read:
    """The same of parts: texts as they are, the rest as parts that `Step` counts as unreadable."""
    shown: list[object] = []
    missed: list[Uncovered] = []
    beside = 0
    for part, where in parts:
        text = part_text(part, where)
        if text is None:
            named = type_of(part)
            shown.append({"type": named})
            missed.append(Uncovered(where, named))
            continue
        shown.append(text)
        lost = beside_text(part, where)
        missed += lost
        beside += len(lost)
    if len(shown) == 1 and isinstance(shown[0], str):
        return Read(shown[0], tuple(missed), beside)
    return Read(shown, tuple(missed), beside)


def beside_text(part: object, where: str) -> list[Uncovered]:
    """Keys of a text part that are not read."""
    found = plain(part)
    named = type_of(part)
    if found is None or not named or named in ("document", "resource", *_AS_JSON):
        return []
    known = {*_SETTINGS, _TEXT_KEYS.get(named, "text")}
    return [
        Uncovered(f"{where}.{key}", "part")
        for key, value in found.items()
        if key not in known and not empty(value)
    ]
