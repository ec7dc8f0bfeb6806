"""What adapters remember by key."""

from __future__ import annotations

from stepguard.integrations.recent import Recent


def test_the_one_that_was_not_used_for_longest_goes() -> None:
    recent: Recent[list[int]] = Recent(list, most=2)
    recent.of("a").append(1)
    recent.of("b").append(2)
    assert recent.of("a") == [1]
    recent.of("c")
    assert (recent.find("a"), recent.find("b"), recent.find("c")) == ([1], None, [])
    recent.drop("a")
    recent.drop("nothing")
    assert (recent.find("a"), len(recent)) == (None, 1)
