"""The reading of one session: what goes to the engine, what is kept, what an answer cost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice, repeat

from stepguard.call import Call
from stepguard.diagnose import LATE, Answered, Digger, IncompleteError
from stepguard.diagnosed import diagnosis_of
from stepguard.escalation import Looks
from stepguard.forest import Forest, Parent
from stepguard.judge import Cost
from stepguard.prompt import Encoder, Step
from stepguard.prompt.patience import patience
from stepguard.reader import LateError, Reader, wait
from stepguard.runtime import Result
from stepguard.screening import Screening
from stepguard.shelf import Shelf
from stepguard.taxonomy import Diagnosis, Fields, Reason, Verdict
from stepguard.track import Aside, Ask, Track
from stepguard.window import Window

_log = logging.getLogger("stepguard")


class Reading:
    """Not thread-safe: the session lets one call in at a time."""

    def __init__(
        self,
        reader: Reader,
        window: Window | None,
        shelf: Shelf | None = None,
        looks: Looks | None = None,
        screening: Screening | None = None,
    ) -> None:
        self._reader, self._window, self._looks = reader, window, looks
        self._screening = screening
        self._shelf = shelf or reader.shelves.shelf()
        self._unasked = 0  # tokens read since the last answer

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

    def ahead(self, track: Track, step: Step, call: Call) -> tuple[Track, Track]:
        """Where a step is put, and the track with it.

        The place is `track`; where the context is full and a window is wanted, what stays of it.
        Raises OutOfTime.
        """
        with patience(call.until):
            if self._window is None:
                return track, track.extend(self.encoder, step)
            return self._window.ahead(track, step)

    def beside(self, base: Track, step: Step, call: Call) -> Track:
        """The track with a step at a place that `ahead` gave for another one. Raises OutOfTime."""
        with patience(call.until):
            track = base.extend(self.encoder, step)
            return track if self._window is None else self._window.in_windows(track)

    def observe(self, track: Track, call: Call) -> None:
        """Reads what is owed of a track, as far as it goes."""
        self._observe(track, call)
        if self._screening is not None:
            self._screening.read(call, track.count)

    def _observe(self, track: Track, call: Call) -> None:
        if track.malformed or track.total == self._shelf.read(track):
            return
        forest = Forest(self._reader.judge.rows)
        with self._shelf.nearest(track) as (state, owed):
            forest.read(state, owed, track)
            results = self._run(forest, call)
        if results is not None and results[0].reason:
            _log.debug("step %s is owed: %s", track.step, results[0].message)

    def put(self, track: Track, step: Step) -> None:
        """The trajectory now stands at `track`, with this step as its last one."""
        if self._screening is not None:
            self._screening.put(track.count - 1, step)

    def doubted(self, track: Track) -> bool:
        """Whether the screen did not call safe what came since the action before a track's last
        step."""
        said, aside = track.said, track.aside
        acts = (said is not None and said.is_action) or (aside is not None and aside.acted)
        return self._screening is not None and self._screening.suspicious(track.count - acts)

    def found(self, track: Track) -> tuple[Verdict, ...]:
        """What the screen says about the tool results of a track so far."""
        return () if self._screening is None else self._screening.found(track.count)

    def have(self, track: Track) -> int:
        """How many tokens of a track have a State, the prefix's not counted."""
        return self._shelf.read(track)

    def ask(self, base: Track, asked: Sequence[Track], call: Call, *, keep: int) -> list[Verdict]:
        """Reads what is owed of `base`, then tracks that go on from it, a question behind each.

        The States of the first `keep` of them are kept, and that of `base`.
        """
        verdicts = self._ask(base, asked, call, keep)
        if self._screening is None:
            return verdicts
        # Of a step that is only checked nothing was put: what stands at its place is another.
        counts = [track.count if track is base else base.count for track in asked]
        pairs = zip(verdicts, counts, strict=True)
        return [self._screening.add(verdict, count, call) for verdict, count in pairs]

    def _ask(self, base: Track, asked: Sequence[Track], call: Call, keep: int) -> list[Verdict]:
        judge = self._reader.judge
        judge.check_verdicts()
        asks = [Ask.at(track, self.encoder) for track in asked]
        if any(place.malformed for track in asked for place in track.all):
            return [self._malformed(ask, call) for ask in asks]
        forest, questions = Forest(judge.rows, judge.writes), []
        with ExitStack() as stack:
            state, owed = stack.enter_context(self._shelf.nearest(base))
            alone = len(owed) == 0 or asked == [base]
            at = state if alone else forest.read(state, owed, base)
            for index, ask in enumerate(asks):
                ids = owed if ask.track is base else ask.track.after(base.total)
                kept = ask.track if index < keep else None
                questions.append([forest.ask(forest.read(at, ids, kept), ask.question)])
            roots: dict[Track, Parent] = {}
            for ask, found in zip(asks, questions, strict=True):
                if (aside := ask.track.aside) is None:
                    continue
                if aside.root not in roots:
                    state, owed = stack.enter_context(self._shelf.nearest(aside.root))
                    read = len(owed) == 0
                    roots[aside.root] = state if read else forest.read(state, owed, aside.root)
                found += self._ask_aside(forest, aside, roots[aside.root])
            results = self._run(forest, call)
        if results is None:
            return [self.too_late(ask.track, call) for ask in asks]
        answers = [[results[index] for index in found] for found in questions]
        verdicts = self._verdicts(asks, answers, call)
        if self._looks is None:
            return verdicts
        tracks = [ask.track for ask in asks]
        doubt = any(map(self.doubted, tracks))
        return self._looks.after(verdicts, tracks, self._shelf, call, doubt=doubt)

    def rationale(self, verdict: Verdict) -> Future[Verdict] | None:
        """What is still being written about a verdict, or was."""
        return None if self._looks is None else self._looks.future(verdict)

    def _ask_aside(self, forest: Forest, aside: Aside, root: Parent) -> list[int]:
        """A question behind every window beside a track; their indices."""
        # Each is asked right after it was read, so that its pages are free for the next one.
        found = []
        for place in aside.windows:
            end = forest.read(root, place.after(aside.root.total))
            found.append(forest.ask(end, Ask.at(place, self.encoder).question))
        return found

    @property
    def fields(self) -> Fields:
        """What a diagnosis reads. Raises TaxonomyError for a guard without."""
        return self._reader.judge.needed_fields

    def diagnose(self, fields: Fields, track: Track, call: Call, top: int) -> Diagnosis:
        """The diagnosis at the end of a track, which is read as far as it is owed."""
        before, read = self._unasked, dict[str, Answered]()
        ended: IncompleteError | None = None
        try:
            if malformed := next((place.malformed for place in track.all if place.malformed), ""):
                raise IncompleteError(Reason.MALFORMED, malformed)
            rows = self._reader.judge.vocabulary
            digger = Digger(
                self._reader.asker, rows, self._shelf, lambda forest: self._run(forest, call)
            )
            for field, answered in digger.dimensions(fields.fields, track, top):
                read[field.dimension.value] = answered
        except IncompleteError as error:
            ended = error
        tokens, self._unasked = self._unasked - before, before
        ask, cost = Ask.at(track, self._reader.asker.encoder), Cost(tokens, call.passed_ms)
        return diagnosis_of(self._reader.judge, ask, fields, read, cost, top, ended)

    def no_labels(
        self, fields: Fields, track: Track, call: Call, top: int, reason: Reason, message: str
    ) -> Diagnosis:
        """A diagnosis for which nothing could be read."""
        ask, cost = Ask.at(track, self._reader.asker.encoder), Cost(0, call.passed_ms)
        ended = IncompleteError(reason, message)
        return diagnosis_of(self._reader.judge, ask, fields, {}, cost, top, ended)

    def too_late(self, track: Track, call: Call, unseen: int = 0) -> Verdict:
        """The answer when the time has run out, where `unseen` more steps are not rendered yet."""
        ask = Ask.at(track, self.encoder)
        text = f"{LATE}; {unseen} of the steps not rendered yet" if unseen else LATE
        verdict = self._unavailable(ask, Reason.DEADLINE, text, call)
        # Of a step that is not rendered nobody knows the tokens: it counts as one.
        part = ask.total / (ask.total + unseen)
        steps = track.count + unseen
        return replace(
            verdict,
            coverage=verdict.coverage * part,
            step=steps - 1 if steps else None,
            screened=() if self._screening is None else self._screening.alarms(track.count),
        )

    def keep_only(self, tracks: set[Track]) -> None:
        """Lets go of the States that lead to none of these, and to nothing that they go on from."""
        roots = {track.aside.root for track in tracks if track.aside is not None}
        window = self._window
        moved = {base for track in tracks if window and (base := window.moved(track)) is not None}
        self._shelf.keep_only(tracks | roots | moved)

    def fork(self) -> Reading:
        """The same, for a session that goes on from here."""
        looks = None if self._looks is None else self._looks.again()
        screening = None if self._screening is None else self._screening.fork()
        return Reading(self._reader, self._window, self._shelf.copy(), looks, screening)

    def close(self) -> None:
        """Lets go of everything."""
        late, _ = self._shelf.take_late()
        if late is not None:
            late[0].cancel()
        self._shelf.keep_only(set())

    def _run(self, forest: Forest, call: Call) -> list[Result] | None:
        """The results; None when they are not there in time."""
        try:
            self._settle(call)
        except LateError:  # the earlier forest is still under way, and remembered
            return None
        try:
            results = self._reader.run(forest.segments, call.until)
        except LateError as late:
            self._shelf.leave((late.ticket, forest))
            return None
        self._store(forest, results)
        return results

    def _settle(self, call: Call) -> None:
        """Takes what a forest has read that was given up. Raises LateError."""
        late, dropped = self._shelf.take_late()
        self._unasked += dropped
        if late is None:
            return
        ticket, forest = late
        try:
            results = wait(ticket, until=call.until)
        except BaseException:
            self._shelf.leave(late)
            raise
        self._store(forest, results)

    def _store(self, forest: Forest, results: Sequence[Result]) -> None:
        for track, state in forest.states(results):
            self._shelf.put(track, state)
        self._unasked += forest.tokens(results)

    def _verdicts(
        self, asks: Sequence[Ask], answers: Sequence[Sequence[Result]], call: Call
    ) -> list[Verdict]:
        judge, written = self._reader.judge, self._reader.written
        have = [self._shelf.read(ask.track) for ask in asks]
        if judge.writes and written is not None:
            asked = [result for found in answers for result in found]
            outcomes = iter(written.finish(asked, judge, call.until))
            told = [list(islice(outcomes, len(found))) for found in answers]
            self._unasked += sum(outcome.tokens for found in told for outcome in found)
            cost = Cost(self._unasked, call.passed_ms)
            verdicts = list(map(judge.read, asks, told, have, repeat(cost)))
        else:
            cost = Cost(self._unasked, call.passed_ms)
            verdicts = list(map(judge.verdict, asks, answers, have, repeat(cost)))
        if all(verdict.reason is None for verdict in verdicts):
            self._unasked = 0
        return verdicts

    def _malformed(self, ask: Ask, call: Call) -> Verdict:
        message = ask.track.malformed or "a call of the same turn is malformed"
        return self._unavailable(ask, Reason.MALFORMED, message, call)

    def _unavailable(self, ask: Ask, reason: Reason, message: str, call: Call) -> Verdict:
        have, cost = self._shelf.read(ask.track), Cost(self._unasked, call.passed_ms)
        return self._reader.judge.unavailable(ask, reason, message, have, cost)
