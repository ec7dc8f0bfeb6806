"""Text that a terminal only prints."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard.cli.show import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Ü, 東京, 😀", "plain text, Ü, 東京, 😀"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[2J\x9b\x7f\0", "\\x1b[2J\\x9b\\x7f\\x00"),
        ("\u202e\u200b\u2028", "\\u202e\\u200b\\u2028"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_could_steer_is_escaped(text: str, shown: str) -> None:
    assert plain(text) == shown


@settings(deadline=None)
@given(st.text(), st.none() | st.integers(1, 20))
def test_any_text(text: str, most: int | None) -> None:
    shown = plain(text, most)
    assert all(unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in shown)
    assert most is None or len(shown) <= most
    shown.encode()


def test_what_was_cut_is_marked() -> None:
    assert plain("abcdef", 4) == "abc…"
    assert plain("abcd", 4) == "abcd"
