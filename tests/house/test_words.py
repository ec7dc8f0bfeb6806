"""No file speaks of the machine it was written on, or of how the work was organised."""

from __future__ import annotations

import re

import pytest

# Every pattern is broken by a tilde, so that this file passes its own test.
BROKEN = [
    r"/wo~rk/",
    r"/fa~rm/",
    r"/\.libr~ary/",
    r"farm-~(studio|bench)",
    r"before-~stop",
    r"issues ~show",
    r"sub~agent",
    r"\bmile~stone",
    r"\bissue~ #?\d",
    r"/ro~ot/",
    r"/tm~p/\w+/",
    r"/op~t/(pypi|wheels)",
]
FORBIDDEN = re.compile("|".join(f"(?:{word.replace('~', '')})" for word in BROKEN), re.IGNORECASE)


def faults(files: dict[str, str]) -> list[str]:
    return [
        f"{path}:{number}: {hit[0]}"
        for path, text in files.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if (hit := FORBIDDEN.search(line))
    ]


def test_no_forbidden_words(project_files: dict[str, str]) -> None:
    assert faults(project_files) == []


@pytest.mark.parametrize("text", ["cd /wo~rk/main", "as in Mile~stone b", "see issue~ 12"])
def test_a_forbidden_word_is_found(text: str) -> None:
    assert len(faults({"a.py": text.replace("~", "")})) == 1
