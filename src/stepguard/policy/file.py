"""A policy from a file: TOML or JSON. Every mistake is named with its place, all at once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from stepguard.errors import PolicyError
from stepguard.policy.decision import Outcome
from stepguard.policy.rules import LabelRule, Patterns, Policy, Settings, ToolRule
from stepguard.taxonomy import Reason

VERSION = 1
_OUTCOMES = ("unsafe", "unsure", "unavailable", "low_coverage", "unreadable")
_NUMBERS = ("least_coverage", "ask_from", "block_from", "raise_from")
_MOST_MS = 600_000.0
_MOST_BYTES = 1 << 20


def read_policy(path: str | Path) -> Policy:
    """The policy of a .toml or .json file.

    Raises:
        PolicyError: it cannot be read, or has mistakes: all of them are named.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)  # a device has no end
    except OSError as error:
        got = error.strerror or str(error)
        raise PolicyError(str(path), expected="a readable file", got=got) from error
    if len(data) > _MOST_BYTES:
        raise PolicyError(str(path), expected=f"at most {_MOST_BYTES} bytes", got="more")
    try:
        text = data.decode("utf-8")
        value = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except RecursionError as error:
        raise PolicyError(str(path), expected="a policy", got="too deep a nesting") from error
    except ValueError as error:
        form = "JSON" if path.suffix == ".json" else "TOML"
        raise PolicyError(str(path), expected=form, got=str(error)) from error
    return parse_policy(value, str(path))


def parse_policy(value: object, where: str = "policy") -> Policy:
    """The same from what a file holds. Raises PolicyError."""
    reader = _Reader()
    policy = reader.policy(value)
    if reader.mistakes:
        got = "; ".join(reader.mistakes)
        raise PolicyError(where, expected="a policy", got=got)
    return policy


class _Reader:
    """Goes on after a mistake, so that all of them are found."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def policy(self, value: object) -> Policy:
        known = ("version", "deadline_ms", "default", "tools", "labels")
        data = self._object(value, "the policy", known)
        if "version" not in data:
            self._wrong("version", f"the number {VERSION}", "none")
        elif data["version"] != VERSION or isinstance(data["version"], bool):
            self._wrong("version", f"the number {VERSION}", data["version"])
        settings = self._settings(data.get("default", {}), "default", ())
        deadline = 2000.0
        if "deadline_ms" in data:
            deadline = self._number(data["deadline_ms"], "deadline_ms", 1.0, _MOST_MS)
        return Policy(
            default=Settings(**settings),
            tools=tuple(self._tool(*one, settings) for one in self._tables(data, "tools")),
            labels=tuple(self._label(*one) for one in self._tables(data, "labels")),
            deadline_ms=deadline,
        )

    def _tables(self, data: Mapping[str, Any], name: str) -> list[tuple[object, str]]:
        found = data.get(name, [])
        if not isinstance(found, list):
            self._wrong(name, f"a list of tables ([[{name}]])", found)
            return []
        return [(one, f"{name}[{i}]") for i, one in enumerate(found)]

    def _tool(self, value: object, where: str, default: Mapping[str, Any]) -> ToolRule:
        changes = self._settings(value, where, ("match",), default)
        if not changes and not self.mistakes:
            self._wrong(where, "something that is different for these tools", "nothing")
        match = value.get("match") if isinstance(value, Mapping) else None
        return ToolRule(match=self._patterns(match, f"{where}.match"), changes=changes)

    def _label(self, value: object, where: str) -> LabelRule:
        data = self._object(value, where, ("match", "share", "outcome", "tools"))
        share = 0.5
        if "share" in data:
            share = self._number(data["share"], f"{where}.share", 0.0, 1.0)
        tools = self._patterns(data["tools"], f"{where}.tools") if "tools" in data else ("*",)
        match = self._patterns(data.get("match"), f"{where}.match")
        outcome = self._outcome(data.get("outcome"), f"{where}.outcome")
        return LabelRule(match=match, outcome=outcome, share=share, tools=tools)

    def _settings(
        self,
        value: object,
        where: str,
        more: tuple[str, ...],
        default: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        data = self._object(value, where, (*more, *_OUTCOMES, *_NUMBERS, "reasons"))
        found: dict[str, Any] = {}
        for key in _OUTCOMES:
            if key in data:
                found[key] = self._outcome(data[key], f"{where}.{key}")
        for key in _NUMBERS:
            if key in data:
                found[key] = self._number(data[key], f"{where}.{key}", 0.0, 1.0)
        if "reasons" in data:
            reasons = self._object(data["reasons"], f"{where}.reasons", [str(r) for r in Reason])
            found["reasons"] = {
                Reason(name): self._outcome(outcome, f"{where}.reasons.{name}")
                for name, outcome in reasons.items()
            }
        self._order(found, where, default or {})
        return found

    def _order(self, found: Mapping[str, Any], where: str, default: Mapping[str, Any]) -> None:
        """A strict limit below a milder one would never let the milder one be reached. Those that a
        rule leaves out are the default's."""
        every = {**default, **found}
        limits = [(k, every[k]) for k in ("ask_from", "block_from", "raise_from") if k in every]
        for (mild, low), (strict, high) in pairwise(limits):
            if high < low and strict in found:
                self._wrong(f"{where}.{strict}", f"no less than {mild} ({low})", high)
            elif high < low and mild in found:
                self._wrong(f"{where}.{mild}", f"no more than {strict} ({high})", low)

    def _object(self, value: object, where: str, known: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self._wrong(where, "a table", value)
            return {}
        for key in value:
            if key not in known:
                self._wrong(f"{where}.{key}"[:120], f"one of {', '.join(known)}", "this key")
        return {key: value[key] for key in value if key in known}

    def _outcome(self, value: object, where: str) -> Outcome:
        if isinstance(value, str) and value in list(Outcome):
            return Outcome(value)
        self._wrong(where, " or ".join(repr(str(one)) for one in Outcome), value)
        return Outcome.BLOCK

    def _number(self, value: object, where: str, low: float, high: float) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if good and low <= value <= high:  # type: ignore[operator]
            return float(value)  # type: ignore[arg-type]
        self._wrong(where, f"a number from {low:g} to {high:g}", value)
        return high

    def _patterns(self, value: object, where: str) -> Patterns:
        found = [value] if isinstance(value, str) else value
        if isinstance(found, list) and found and all(isinstance(p, str) and p for p in found):
            return tuple(found)
        self._wrong(where, "a glob pattern or a list of them", value)
        return ()

    def _wrong(self, where: str, expected: str, got: object) -> None:
        shown = got if isinstance(got, str) and got in ("none", "nothing", "this key") else None
        text = shown or ("none" if got is None else repr(got)[:80])
        self.mistakes.append(f"{where}: expected {expected}, got {text}")
