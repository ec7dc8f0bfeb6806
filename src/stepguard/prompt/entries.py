"""Entries of the manifest about a prompt: each there, and of its kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from stepguard.errors import PromptError


def read_entries(data: object, names: list[str], where: str) -> Mapping[str, Any]:
    """An object with exactly these keys. Raises PromptError."""
    if not isinstance(data, dict) or sorted(data) != sorted(names):
        got = ", ".join(map(str, data)) if isinstance(data, dict) else repr(data)[:80]
        raise PromptError(where, expected=f"the keys {', '.join(names)}", got=got)
    return data


def check_kind(value: object, kind: type, where: str) -> None:
    """Raises PromptError for a value of another kind."""
    if type(value) is not kind:
        name = {bool: "true or false", str: "a string", int: "a whole number"}[kind]
        raise PromptError(where, expected=name, got=repr(value)[:80])


def check_known(value: str, known: Collection[str], where: str) -> None:
    """Raises PromptError for a value that is none of these."""
    if value not in known:
        fix = "A newer stepguard may know it."
        raise PromptError(where, expected=" or ".join(known), got=repr(value)[:80], fix=fix)
