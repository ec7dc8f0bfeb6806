"""States that sessions keep, and who has to give one up when memory runs out.

A session never loses what was read, only the State of it: the token ids stay, and the next call
reads them again.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from stepguard.forest import Forest
from stepguard.runtime import State, Ticket
from stepguard.track import Ids, Track

# A forest that was given up at a deadline, and goes on.
Late = tuple[Ticket, Forest]


@dataclass(eq=False)
class _Kept:
    state: State
    used: int


class Shelves:
    """The shelves of all sessions of a guard, under one lock."""

    def __init__(self, prefix: State) -> None:
        self.prefix = prefix
        self.lock = threading.Lock()
        self._shelves: weakref.WeakSet[Shelf] = weakref.WeakSet()
        self._clock = itertools.count()

    def shelf(self) -> Shelf:
        """An empty shelf for a new session."""
        shelf = Shelf(self)
        with self.lock:
            self._shelves.add(shelf)
        return shelf

    def tick(self) -> int:
        """A number that only grows."""
        return next(self._clock)

    def evict(self) -> bool:
        """Lets go of the State that was not used for longest and is not in use; False for none.

        Where there is none, what late forests have read by now goes.
        """
        with self.lock:
            found = [
                (kept.used, shelf, track)
                for shelf in self._shelves
                for track, kept in shelf.kept.items()
                if track not in shelf.pinned
            ]
            if not found:
                return any(shelf.drop_late() for shelf in self._shelves)
            _, shelf, track = min(found, key=lambda entry: entry[0])
            del shelf.kept[track]
            return True


@dataclass(eq=False)
class Shelf:
    """The States of one session, by the track at whose end they stand.

    A State may stand before the end of its track, where reading was interrupted. late: a forest
    whose results nobody has taken yet. dropped: tokens that such forests had read in vain.
    """

    shelves: Shelves
    kept: dict[Track, _Kept] = field(default_factory=dict)
    pinned: set[Track] = field(default_factory=set)
    late: Late | None = None
    dropped: int = 0

    @contextmanager
    def nearest(self, track: Track) -> Iterator[tuple[State, Ids]]:
        """The last State on the way to a track, which stays, and the ids still to be read."""
        prefix = self.shelves.prefix
        place, state = None, prefix
        with self.shelves.lock:
            for place in track.path():
                if (kept := self.kept.get(place)) is not None:
                    kept.used, state = self.shelves.tick(), kept.state
                    self.pinned.add(place)
                    break
        try:
            yield state, track.after(state.length - prefix.length)
        finally:
            with self.shelves.lock:
                if place is not None:
                    self.pinned.discard(place)

    def read(self, track: Track) -> int:
        """How many tokens of a track have a State, the prefix's not counted."""
        with self.shelves.lock:
            found = (self.kept[place] for place in track.path() if place in self.kept)
            kept = next(found, None)
        return 0 if kept is None else kept.state.length - self.shelves.prefix.length

    def put(self, track: Track, state: State) -> None:
        """Keeps a State of the track, or of a part of it."""
        read = state.length - self.shelves.prefix.length
        for place in track.path():
            if place.above is None or place.above.total < read:
                break
        with self.shelves.lock:
            kept = self.kept.get(place)
            if kept is None or kept.state.length < state.length:
                self.kept[place] = _Kept(state, self.shelves.tick())

    def keep_only(self, tracks: set[Track]) -> None:
        """Lets go of all but the last State on the way to each of these."""
        with self.shelves.lock:
            wanted = {
                next((place for place in track.path() if place in self.kept), None)
                for track in tracks
            }
            self.kept = {place: kept for place, kept in self.kept.items() if place in wanted}

    def leave(self, late: Late) -> None:
        """Remembers a late forest, unless an earlier one is still there."""
        with self.shelves.lock:
            self.late = self.late or late

    def take_late(self) -> tuple[Late | None, int]:
        """The late forest, which is forgotten, and the tokens of those that had to make room."""
        with self.shelves.lock:
            (late, dropped), self.late, self.dropped = (self.late, self.dropped), None, 0
        return late, dropped

    def drop_late(self) -> bool:
        """Gives up what a late forest has read, if it is done; needs the lock."""
        if self.late is None:
            return False
        ticket, forest = self.late
        try:
            results = ticket.wait(0)
        except TimeoutError:
            return False
        self.late, self.dropped = None, self.dropped + forest.tokens(results)
        return True

    def copy(self) -> Shelf:
        """A shelf with the same States, for a fork."""
        other = self.shelves.shelf()
        with self.shelves.lock:
            other.kept = {place: _Kept(kept.state, kept.used) for place, kept in self.kept.items()}
        return other
