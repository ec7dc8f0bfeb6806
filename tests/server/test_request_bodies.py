"""Bodies of requests: what is too deep, not JSON, or of the wrong form, is named."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepguard.server.body import Fields, extent, parse
from stepguard.server.faults import Fault

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{}\u00e9\u2028 '),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    """The oracle: Python's own objects, counted."""
    if isinstance(value, dict):
        value = list(value.values())
    elif not isinstance(value, list):
        return 0
    return 1 + max(map(depth_of, value), default=0)


@given(VALUES, st.booleans())
def test_the_depth_is_that_of_the_value(value: Any, escaped: bool) -> None:
    assert extent(json.dumps(value, ensure_ascii=escaped).encode())[0] == depth_of(value)


def values_of(value: Any) -> int:
    """The oracle: one for every list or object, comma and colon."""
    if not isinstance(value, list | dict):
        return 0
    inner = list(value.values() if isinstance(value, dict) else value)
    pairs = len(inner) if isinstance(value, dict) else 0
    return 1 + max(0, len(inner) - 1) + pairs + sum(map(values_of, inner))


@given(VALUES, st.booleans())
def test_values_are_counted(value: Any, escaped: bool) -> None:
    assert extent(json.dumps(value, ensure_ascii=escaped).encode())[1] == values_of(value)


def test_too_many_values_never_reach_the_parser() -> None:
    with pytest.raises(Fault, match="TooManyValues"):
        parse(b'{"a": [' + b"1," * 1000 + b"1]}", 64, 1000)
    assert len(parse(b'{"a": [' + b"1," * 900 + b"1]}", 64, 1000)["a"]) == 901
    text = json.dumps({"a": json.dumps([1] * 5000)}).encode()
    assert parse(text, 64, 1000), "text counts once, whatever it looks like"
    with pytest.raises(Fault, match="Malformed"):  # in another coding, signs could be hidden
        parse('{"a": "\u2222", "b": [1, 1, 1]}'.encode("utf-16"), 64, 1000)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_fault(body: bytes) -> None:
    try:
        found: object = parse(body, 5, 50)
    except Fault as fault:
        found = fault
    assert isinstance(found, dict) or (isinstance(found, Fault) and found.status in (400, 413))


@pytest.mark.parametrize("part", [b'"\\', b'"', b"\\", b'\\"', b"[", b"{}", b'"a'])
def test_the_depth_is_found_in_linear_time(part: bytes) -> None:
    started = time.perf_counter()
    extent(part * (1 << 19))
    assert time.perf_counter() - started < 1.0


def test_deep_json_never_reaches_the_parser() -> None:
    with pytest.raises(Fault, match="TooDeep"):
        parse(b'{"a":' * 100_000, 64, 1 << 20)
    assert parse(b'{"a":' * 63 + b"{}" + b"}" * 63, 64, 1000)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b"{", b'{"a": NaN}', b'{"a": Infinity}', b"\xff", b"1" * 5000]
)
def test_what_is_no_object_is_named(body: bytes) -> None:
    with pytest.raises(Fault) as error:
        parse(body, 64, 1000)
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({}, "body.a"),
        ({"a": 1}, "body.a"),
        ({"a": "x", "b": 1}, "body"),
    ],
)
def test_fields_name_their_place(value: dict[str, Any], place: str) -> None:
    fields = Fields(value)
    with pytest.raises(Fault) as error:
        fields.text("a")
        fields.done()
    assert error.value.where == place


@pytest.mark.parametrize("value", [0, -1, 1e9, True, "1", [], float("inf")])
def test_times_have_bounds(value: Any) -> None:
    with pytest.raises(Fault):
        Fields({"ms": value}).milliseconds("ms", 10, 1000)
    assert Fields({}).milliseconds("ms", 10, 1000) == 10
    assert Fields({"ms": 7}).milliseconds("ms", 10, 1000) == 7


@pytest.mark.parametrize(
    "value",
    [0, -1, 10**400, -(10**400), 1e9, True, "5", [], float("nan")],
    ids=lambda v: repr(v)[:9],
)
def test_times_that_no_clock_counts(value: Any) -> None:
    with pytest.raises(Fault, match=r"body\.deadline_ms"):
        Fields({"deadline_ms": value}).milliseconds("deadline_ms", 1.0, 1000.0)
