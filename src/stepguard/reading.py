"""The reading of one session: what goes to the engine, what is kept, what an answer cost."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from stepguard.call import Call
from stepguard.forest import Forest
from stepguard.judge import Cost
from stepguard.prompt import Encoder
from stepguard.reader import LateError, Reader, wait
from stepguard.runtime import Result, Ticket
from stepguard.shelf import Shelf
from stepguard.taxonomy import Reason, Verdict
from stepguard.track import Ask, Track
from stepguard.window import Window

_log = logging.getLogger("stepguard")
_LATE = "the time given to the call ran out"


class Reading:
    """Not thread-safe: the session lets one call in at a time."""

    def __init__(self, reader: Reader, window: Window | None, shelf: Shelf | None = None) -> None:
        self._reader, self._window = reader, window
        self._shelf = shelf or reader.shelves.shelf()
        self._unasked = 0  # tokens read since the last answer
        self._late: tuple[Ticket, Forest] | None = None  # given up at a deadline, not yet done

    @property
    def encoder(self) -> Encoder:
        """Turns steps into token ids."""
        return self._reader.encoder

    def is_foreign_process(self) -> bool:
        """True in a child of fork()."""
        return self._reader.is_foreign_process()

    def check_process(self) -> None:
        """Raises ForkedProcessError in a child of fork()."""
        self._reader.check_process()

    def fit(self, track: Track) -> Track:
        """The track, or one with fewer steps where the context is full and a window is wanted."""
        return track if self._window is None else self._window.fit(track)

    def observe(self, track: Track, call: Call) -> None:
        """Reads what is owed of a track, as far as it goes."""
        if track.malformed or track.total == self._shelf.read(track):
            return
        forest = Forest(self._reader.judge.rows)
        with self._shelf.nearest(track) as (state, owed):
            forest.read(state, owed, track)
            results = self._run(forest, call)
        if results is not None and results[0].reason:
            _log.debug("step %s is owed: %s", track.step, results[0].message)

    def ask(self, base: Track, asked: Sequence[Track], call: Call, *, keep: int) -> list[Verdict]:
        """Reads what is owed of `base`, then tracks that go on from it, a question behind each.

        The States of the first `keep` of them are kept, and that of `base`.
        """
        asks = [Ask.at(track, self.encoder) for track in asked]
        if any(track.malformed for track in asked):
            return [self._malformed(ask, call) for ask in asks]
        forest, questions = Forest(self._reader.judge.rows), []
        with self._shelf.nearest(base) as (state, owed):
            alone = len(owed) == 0 or asked == [base]
            at = state if alone else forest.read(state, owed, base)
            for index, ask in enumerate(asks):
                ids = owed if ask.track is base else ask.track.after(base.total)
                kept = ask.track if index < keep else None
                questions.append(forest.ask(forest.read(at, ids, kept), ask.question))
            results = self._run(forest, call)
        if results is None:
            return [self.too_late(ask.track, call) for ask in asks]
        return self._verdicts(asks, [results[index] for index in questions], call)

    def too_late(self, track: Track, call: Call) -> Verdict:
        """The answer when the time has run out."""
        ask = Ask.at(track, self.encoder)
        return self._unavailable(ask, Reason.DEADLINE, _LATE, call)

    def keep_only(self, tracks: set[Track]) -> None:
        """Lets go of the States that lead to none of these."""
        self._shelf.keep_only(tracks)

    def fork(self) -> Reading:
        """The same, for a session that goes on from here."""
        return Reading(self._reader, self._window, self._shelf.copy())

    def close(self) -> None:
        """Lets go of everything."""
        if self._late is not None:
            self._late[0].cancel()
            self._late = None
        self._shelf.keep_only(set())

    def _run(self, forest: Forest, call: Call) -> list[Result] | None:
        """The results; None when they are not there in time."""
        try:
            self._settle(call)
            results = self._reader.run(forest.segments, call.until)
        except LateError as late:
            # Either this forest, or an earlier one that is still under way.
            self._late = self._late or (late.ticket, forest)
            return None
        self._store(forest, results)
        return results

    def _settle(self, call: Call) -> None:
        """Takes what a forest has read that was given up. Raises LateError."""
        if self._late is None:
            return
        ticket, forest = self._late
        results = wait(ticket, until=call.until)
        self._late = None
        self._store(forest, results)

    def _store(self, forest: Forest, results: Sequence[Result]) -> None:
        for track, state in forest.states(results):
            self._shelf.put(track, state)
        self._unasked += forest.tokens(results)

    def _verdicts(
        self, asks: Sequence[Ask], answers: Sequence[Result], call: Call
    ) -> list[Verdict]:
        cost = Cost(self._unasked, call.passed_ms)
        judge = self._reader.judge
        verdicts = [
            judge.verdict(ask, [answer], self._shelf.read(ask.track), cost)
            for ask, answer in zip(asks, answers, strict=True)
        ]
        if all(verdict.reason is None for verdict in verdicts):
            self._unasked = 0
        return verdicts

    def _malformed(self, ask: Ask, call: Call) -> Verdict:
        message = ask.track.malformed or "a call of the same turn is malformed"
        return self._unavailable(ask, Reason.MALFORMED, message, call)

    def _unavailable(self, ask: Ask, reason: Reason, message: str, call: Call) -> Verdict:
        have, cost = self._shelf.read(ask.track), Cost(self._unasked, call.passed_ms)
        return self._reader.judge.unavailable(ask, reason, message, have, cost)
