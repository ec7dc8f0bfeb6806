"""A second guard beside the first: it is loaded when it is needed, and follows sessions then.

Its engine is its own, its threads give way to those of the first, and it is let go of when the
machine's memory gets short.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepguard.background import Background
from stepguard.call import Call
from stepguard.errors import EngineClosed
from stepguard.heads import question_mode
from stepguard.judge import Judge
from stepguard.manifest import load
from stepguard.prompt import Prompt, Step
from stepguard.reading import Reading
from stepguard.taxonomy import Diagnosis, Reason, Status, Verdict, taxonomy_of
from stepguard.track import Track

if TYPE_CHECKING:
    from stepguard.guard import Guard

_EVERY_SECONDS = 1.0
_LEAST_SHARE = 0.05  # of the machine's memory, below which the guard is let go of


def available_share() -> float:
    """Share of the machine's memory that is free or could be; 1 where nobody says."""
    try:
        text = Path("/proc/meminfo").read_text("ascii")
    except OSError:
        return 1.0
    found = dict(re.findall(r"^(MemTotal|MemAvailable): +(\d+) kB$", text, re.MULTILINE))
    if len(found) < 2 or int(found["MemTotal"]) == 0:
        return 1.0
    return int(found["MemAvailable"]) / int(found["MemTotal"])


class Second:
    """A model directory and the options of `Guard.load` for it.

    Its manifest is read now, the rest when somebody asks. share: what `available_share` says; it is
    an argument so that a test can say it. Raises what `Guard.load` raises of manifest, prompt and
    labels.
    """

    def __init__(
        self, path: str | Path, *, share: Callable[[], float] = available_share, **options: Any
    ) -> None:
        self._path, self._options, self._share = Path(path), options, share
        manifest = load(self._path)
        taxonomy = options.get("taxonomy")
        labels = None if taxonomy is None else taxonomy_of(taxonomy)
        prompt, mode = Prompt.from_manifest(manifest.prompt), options.get("mode")
        asked = question_mode(manifest, mode)
        prompt = prompt if asked is None else prompt.in_mode(asked)
        judge = Judge.of(manifest, prompt, kv="", activations="", taxonomy=labels)
        self.judge = replace(judge, mode=mode or judge.mode)
        self.background = Background()
        self.loads = 0
        """How often it was loaded."""
        self._guard: Guard | None = None
        self._looked = 0.0

    @property
    def loaded(self) -> bool:
        """Whether it takes memory now."""
        return self._guard is not None

    def guard(self) -> Guard:
        """The guard, loaded if need be; on the thread of the background only.

        Raises what `Guard.load` raises, and EngineClosed.
        """
        from stepguard.guard import Guard

        guard = self._guard
        if guard is None and not self.background.closed:
            guard = self._guard = Guard.load(self._path, **{"give_way": True, **self._options})
            self.loads += 1
        if guard is None or self.background.closed:  # also while it was loading
            self.release()
            raise EngineClosed("the second guard", expected="an open one", got="a closed one")
        return guard

    def ease(self) -> None:
        """Lets go of the guard where memory is short; looks about once a second."""
        now = time.monotonic()
        if self._guard is not None and now - self._looked > _EVERY_SECONDS:
            self._looked = now
            if self._share() < _LEAST_SHARE:
                self.background.submit(self.release, lambda *_: None)

    def release(self) -> None:
        """Lets go of the guard; the next job loads it again."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.close()

    def close(self) -> None:
        """Ends its work. What waits becomes `unavailable(closing)`."""
        self.background.close()
        self.release()


class Follower:
    """Reads the trajectory of one session with the second guard: once, and then only new steps.

    Its methods run on the thread of the background.
    """

    def __init__(self, second: Second, profile: str, *, window: bool) -> None:
        self.second, self._profile, self._window = second, profile, window
        self._guard: Guard | None = None
        self._reading: Reading | None = None
        self._seen: list[tuple[Step, Track]] = []  # steps of the first guard, and where they led

    def fork(self) -> Follower:
        """Another for a session that goes on by itself; it reads again when it is asked."""
        return Follower(self.second, self._profile, window=self._window)

    def diagnose(self, steps: Sequence[Step], call: Call, top: int) -> Diagnosis:
        """The diagnosis after these steps."""
        reading, track = self._follow(steps)
        diagnosis = reading.diagnose(reading.fields, track, call, top)
        self._keep(reading, track)
        return diagnosis

    def judge(self, steps: Sequence[Step], call: Call) -> Verdict:
        """The verdict after these steps."""
        reading, track = self._follow(steps)
        (verdict,) = reading.ask(track, [track], call, keep=1)
        self._keep(reading, track)
        return verdict

    def no_diagnosis(self, call: Call, top: int, reason: Reason, message: str) -> Diagnosis:
        """One for which nothing was read."""
        judge = self.second.judge
        fields = judge.needed_fields
        return Diagnosis(
            guard=judge.guard,
            taxonomy=fields.taxonomy,
            order=tuple(field.dimension.value for field in fields.fields),
            top=top,
            reason=reason,
            message=message,
            coverage=0.0,
            latency_ms=call.passed_ms,
        )

    def no_verdict(self, call: Call, reason: Reason, message: str) -> Verdict:
        """One for which nothing was read."""
        judge = self.second.judge
        return Verdict(
            status=Status.UNAVAILABLE,
            guard=judge.guard,
            mode=judge.mode,
            reason=reason,
            message=message,
            coverage=0.0,
            latency_ms=call.passed_ms,
        )

    def _follow(self, steps: Sequence[Step]) -> tuple[Reading, Track]:
        """Where these steps lead; what of them is new is rendered, and read by whoever asks."""
        guard = self.second.guard()
        if self._reading is None or guard is not self._guard:
            self._guard, self._seen = guard, []
            self._reading = guard.reading(window=self._window)
        pairs = zip(steps, self._seen, strict=False)
        same = next((i for i, (a, (b, _)) in enumerate(pairs) if a is not b), None)
        same = min(len(steps), len(self._seen)) if same is None else same
        del self._seen[same:]
        begin = Track.begin(self._reading.encoder, self._profile)
        track = self._seen[-1][1] if self._seen else begin
        for step in steps[same:]:
            _, track = self._reading.ahead(track, step, Call.begin())
            self._seen.append((step, track))
        return self._reading, track

    def _keep(self, reading: Reading, track: Track) -> None:
        """The State after the last step, and after the one before, which may be the border."""
        reading.keep_only({track} if track.above is None else {track, track.above})
