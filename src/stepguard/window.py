"""What stays in view when a trajectory outgrows the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from stepguard.prompt import Encoder
from stepguard.track import Ask, Track


@dataclass(frozen=True)
class Window:
    """The prefix, the profile, the first user step and the newest steps stay.

    When the context is full, half of it is filled again, so that each token is read about twice in
    all. context: the longest path in tokens, the prefix counted.
    """

    encoder: Encoder
    context: int

    def room(self, track: Track) -> int:
        """Tokens that the steps may take, with the question behind them."""
        question = Ask.at(track, self.encoder).question
        return self.context - len(self.encoder.prefix_ids) - len(question)

    def fit(self, track: Track) -> Track:
        """The track, or one with fewer steps; its last step is always there, even if too long."""
        room = self.room(track)
        if track.malformed or track.total <= room:
            return track
        begin, *steps = reversed(list(track.path()))
        budget = room // 2 - begin.total
        first = next((place for place in steps if place.said and place.said.role == "user"), None)
        if first is not None and len(first.ids) <= budget // 2:
            budget -= len(first.ids)
        else:
            first = None
        stay = _newest(steps, budget)
        if first is not None and first not in stay:
            stay = [first, *stay]
        return self._rebuilt(track, begin, stay, [place for place in steps if place not in stay])

    def _rebuilt(
        self, track: Track, begin: Track, stay: Sequence[Track], left: Sequence[Track]
    ) -> Track:
        lost = track.lost + sum(len(place.ids) for place in left)
        left_out = _runs(track.left_out, [place.step for place in left if place.step is not None])
        new = begin
        for place in stay:
            assert place.said is not None  # only the beginning has none
            new = replace(
                new.extend(self.encoder, place.said),
                step=place.step,
                neutralised=place.neutralised,
                capped=place.capped,
                unreadable=place.unreadable,
                left_out=left_out,
                lost=lost,
            )
        return new


def _newest(steps: Sequence[Track], budget: int) -> list[Track]:
    """The last step, and as many before it as the budget has tokens for."""
    size, at = len(steps[-1].ids), len(steps) - 1
    while at > 0 and size + len(steps[at - 1].ids) <= budget:
        at -= 1
        size += len(steps[at].ids)
    return list(steps[at:])


def _runs(before: tuple[tuple[int, int], ...], steps: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """First and last index of the runs among numbers that are left out, before and now."""
    numbers = sorted({i for a, b in before for i in range(a, b + 1)} | set(steps))
    breaks = [i for i, (a, b) in enumerate(pairwise(numbers), 1) if b > a + 1]
    edges = [0, *breaks, len(numbers)]
    return tuple((numbers[a], numbers[b - 1]) for a, b in pairwise(edges))
