"""The verdict as a value."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from stepguard.taxonomy import GuardId, Reason, Status, Verdict

GUARD = GuardId(model="a" * 64, prompt="b" * 64)
DOCS = Path(__file__).resolve().parents[2] / "docs"


def verdict(status: Status, **more: object) -> Verdict:
    return Verdict(status=status, guard=GUARD, mode="first_token", **more)  # type: ignore[arg-type]


def test_only_safe_is_allowed() -> None:
    assert verdict(Status.SAFE).allowed
    assert not verdict(Status.UNSAFE).allowed
    assert not verdict(Status.UNSURE).allowed
    assert not verdict(Status.UNAVAILABLE, reason=Reason.MEMORY).allowed


@pytest.mark.parametrize("status", [Status.SAFE, Status.UNSAFE])
def test_it_is_neither_true_nor_false(status: Status) -> None:
    with pytest.raises(TypeError, match="allowed"):
        bool(verdict(status))
    with pytest.raises(TypeError):
        _ = not verdict(status)


def test_a_reason_belongs_to_unavailable() -> None:
    with pytest.raises(ValueError, match="reason"):
        verdict(Status.UNAVAILABLE)
    with pytest.raises(ValueError, match="reason"):
        verdict(Status.SAFE, reason=Reason.MEMORY)


def test_it_never_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict(Status.SAFE).status = Status.UNSAFE  # type: ignore[misc]


def test_json_is_one_line_with_every_field() -> None:
    made = verdict(Status.UNAVAILABLE, reason=Reason.OVERFLOW, message="two\nlines")
    line = made.to_json()
    assert "\n" not in line
    value = json.loads(line)
    assert set(value) == {field.name for field in dataclasses.fields(Verdict)} | {"allowed"}
    assert (value["allowed"], value["status"], value["reason"]) == (
        False,
        "unavailable",
        "overflow",
    )
    assert value["guard"] == {"model": "a" * 64, "prompt": "b" * 64}


def test_the_page_of_errors_lists_the_reasons() -> None:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z_]+)`", page, re.MULTILINE)
    assert sorted(listed) == sorted(Reason)
