"""What stays in view when a trajectory outgrows the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepguard.oversized import split
from stepguard.prompt import Encoder, Step
from stepguard.track import Ask, Track, runs


class Window:
    """The prefix, the profile, the first user step and the newest steps stay.

    When the context is full, half of it is filled again, so that each token is read about twice in
    all. A step that has no room even so is read in windows that each take half of what is free.
    What stays depends on what came before a step, not on the step: one that is rejected changes
    nothing.
    """

    def __init__(self, encoder: Encoder, context: int) -> None:
        """context: the longest path in tokens, the prefix counted."""
        self._encoder = encoder
        self._room = context - len(encoder.prefix_ids)
        self._moved: tuple[Track, Track] | None = None  # a track, and what stays of it

    def ahead(self, track: Track, step: Step) -> tuple[Track, Track]:
        """Where the step is put: `track`, or what stays of it; and the track with the step."""
        ahead = track.extend(self._encoder, step)
        if ahead.malformed or self._fits(ahead):
            return track, ahead
        base = self._half(track)
        ahead = base.extend(self._encoder, step)
        if self._fits(ahead):
            return base, ahead
        base = self._kept(track, [])
        return base, self.in_windows(base.extend(self._encoder, step))

    def in_windows(self, track: Track) -> Track:
        """The track, its last step in windows where it is too long to be there whole."""
        base = track.above
        if track.malformed or base is None or self._fits(track):
            return track
        free = self._free(track) - base.total
        return split(track.without_aside(), self._encoder, free // 2)

    def moved(self, track: Track) -> Track | None:
        """What stays of a track, where that was asked for lately."""
        moved = self._moved
        return moved[1] if moved is not None and moved[0] is track else None

    def _free(self, track: Track) -> int:
        """Tokens that the steps may take, with the question behind them."""
        return self._room - len(Ask.at(track, self._encoder).question)

    def _fits(self, track: Track) -> bool:
        return all(place.total <= self._free(place) for place in track.all)

    def _half(self, track: Track) -> Track:
        """What stays in half of the context, the last step always. Remembered: many may ask."""
        base = self.moved(track)
        if base is None:
            begin, *steps = reversed(list(track.path()))
            budget = self._free(track) // 2 - begin.total
            first = _first(steps, budget // 2)
            base = self._kept(track, _newest(steps, budget - (len(first.ids) if first else 0)))
            self._moved = track, base
        return base

    def _kept(self, track: Track, newest: Sequence[Track]) -> Track:
        """The first user step, where it is not too long, and the newest ones."""
        track = track.without_aside()
        begin, *steps = reversed(list(track.path()))
        first = _first(steps, (self._free(track) // 2 - begin.total) // 2)
        stay = list(newest) if first is None or first in newest else [first, *newest]
        left = [place for place in steps if place not in stay]
        lost = track.lost + sum(len(place.ids) for place in left)
        left_out = runs(track.left_out, [place.step for place in left if place.step is not None])
        new = replace(begin, left_out=left_out, lost=lost)
        for place in stay:
            assert place.said is not None  # only the beginning has none
            new = replace(new.extend(self._encoder, place.said), step=place.step)
        # What was counted so far counts on, also of steps that are out of view.
        return replace(
            new,
            count=track.count,
            neutralised=track.neutralised,
            capped=track.capped,
            unreadable=track.unreadable,
        )


def _first(steps: Sequence[Track], most: int) -> Track | None:
    """The first user step, if it takes no more than `most` tokens."""
    said = ((place, place.said) for place in steps)
    first = next((place for place, step in said if step and step.role == "user"), None)
    return first if first is not None and len(first.ids) <= most else None


def _newest(steps: Sequence[Track], budget: int) -> list[Track]:
    """The last step, and as many before it as the budget has tokens for."""
    size, at = 0, len(steps)
    while at > 0 and (at == len(steps) or size + len(steps[at - 1].ids) <= budget):
        at -= 1
        size += len(steps[at].ids)
    return list(steps[at:])
