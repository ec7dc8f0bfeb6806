"""Overlapping windows over a row of things: tokens of a text, or its characters (a leaf)."""

from __future__ import annotations

from collections.abc import Iterator


def spans(count: int, size: int, overlap: int, *, full: bool) -> Iterator[tuple[int, int]]:
    """First and one behind the last of windows that cover 0 to `count` without a gap.

    Each has at most `size`, and two neighbours share at least `overlap`, so that whatever is not
    longer than that stands whole in one of them. full: the last one reaches back to have `size`
    too, where there are so many. Of nothing there is none.

    >>> list(spans(10, 5, 2, full=True)), list(spans(10, 5, 2, full=False))
    ([(0, 5), (3, 8), (5, 10)], [(0, 5), (3, 8), (6, 10)])
    """
    start, end = 0, 0
    while end < count:
        end = min(start + size, count)
        yield (max(0, end - size) if full else start), end
        start = end - overlap
