"""The segments of one call, and what each of them stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stepguard.runtime import Result, Segment, State
from stepguard.track import Ask, Ids, Track

# A place to go on from: a State and its length, or a segment of this forest by its index.
Parent = State | int


@dataclass(eq=False)
class Forest:
    """A list of segments that grows.

    rows: int32 [r] output rows that a question reads. writes: an answer is to be written behind
    every question, which is kept for that and gives its first token.
    """

    rows: Ids
    writes: bool = False
    segments: list[Segment] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)  # tokens on the path to the end of a segment
    _tracks: dict[int, Track] = field(default_factory=dict)  # of the segments that are kept

    def read(self, parent: Parent, ids: Ids, track: Track | None = None) -> int:
        """Adds the ids that lead to a track, or to one that is not kept; its index."""
        if track is not None:
            self._tracks[len(self.segments)] = track
        return self._add(parent, Segment(ids, parent, keep=track is not None))

    def ask(self, parent: Parent, question: Ids) -> int:
        """Adds a question; its index."""
        writes = self.writes
        return self._add(parent, Segment(question, parent, writes, read=self.rows, next=writes))

    def branch(self, parent: Parent, ids: Ids, rows: Ids, *, keep: bool = False) -> int:
        """Adds ids behind which these rows are read; `keep` where another forest goes on there."""
        return self._add(parent, Segment(ids, parent, keep=keep, read=rows))

    def _add(self, parent: Parent, segment: Segment) -> int:
        start = self._ends[parent] if isinstance(parent, int) else parent.length
        self.segments.append(segment)
        self._ends.append(start + len(segment.tokens))
        return len(self.segments) - 1

    def states(self, results: Sequence[Result]) -> list[tuple[Track, State]]:
        """What is to be kept: also of a track that was read in part."""
        found = ((track, results[index].state) for index, track in self._tracks.items())
        return [(track, state) for track, state in found if state is not None]

    def tokens(self, results: Sequence[Result]) -> int:
        """How many tokens were read for results that are there."""
        total = 0
        for segment, end, result in zip(self.segments, self._ends, results, strict=True):
            if not result.reason:
                total += len(segment.tokens)
            elif result.state is not None:
                total += result.state.length - (end - len(segment.tokens))
        return total


def chain(prefix: State, asks: Sequence[Ask], rows: Ids, *, writes: bool = False) -> Forest:
    """A trajectory at once: two segments per question, the steps since the one before and itself.

    Nobody goes on from it later, so nothing is kept but what answers are to be written behind.
    Malformed tracks are left out: the first one, and with it all that follow.
    """
    forest, below, read = Forest(rows, writes), prefix, 0
    parent: Parent = below
    for ask in asks:
        if ask.track.malformed:
            break
        parent = forest.read(parent, ask.track.after(read))
        forest.ask(parent, ask.question)
        read = ask.track.total
    return forest
