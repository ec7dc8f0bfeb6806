"""Steps as they come, a verdict line each."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from typing import TextIO

from stepguard.audit import AuditLog, Recorder
from stepguard.errors import TrajectoryError
from stepguard.files import json_lines, located
from stepguard.guard import Guard
from stepguard.prompt import Step
from stepguard.taxonomy import Diagnosis, Verdict

_WHERE = "standard input"


def moderate(
    guard: Guard,
    lines: Iterable[bytes],
    out: TextIO,
    diagnose: bool = False,
    log: AuditLog | None = None,
) -> list[Verdict]:
    """Reads `{"profile": ...}` and then a step a line; writes a line of JSON per verdict, flushed.

    A stream without an action gets one verdict at its end. With `diagnose` a line
    `{"diagnosis": ...}` follows an unsafe verdict as soon as it is read; no verdict waits for it.
    What a larger guard says of an unsure one follows as `{"second": ...}`.
    What goes out is in the log, if there is one, before it goes out.

    Raises:
        AuditError: the log cannot be written.
        TrajectoryError: names the line; what came before was read and answered.
        TaxonomyError: `diagnose`, and the guard was exported without labels.
    """
    if diagnose:
        guard.require_labels()
    found = json_lines(lines, _WHERE)
    verdicts: list[Verdict] = []
    with (
        guard.session(_profile(next(found, None)), diagnose=diagnose) as session,
        Writer(out, log) as say,
    ):
        steps = 0
        step: Step | None = None
        for where, value in found:
            step = _step(where, value)
            steps += 1
            if (verdict := session.follow(step)) is not None:
                verdicts.append(say.verdict(verdict, step))
        if not steps:
            raise TrajectoryError(_WHERE, expected="a step after the profile", got="none")
        if not verdicts:
            verdicts.append(say.verdict(session.judge(), step))
    return verdicts


class Writer:
    """Whole lines, from any thread; leaving it waits for what follows the verdicts."""

    def __init__(self, out: TextIO, log: AuditLog | None = None) -> None:
        self._out, self._lock = out, threading.Lock()
        self._recorder = None if log is None else Recorder(log, self._fail)
        self._waiting: list[threading.Event] = []
        self._failed: Exception | None = None

    def verdict(self, verdict: Verdict, step: Step | None = None) -> Verdict:
        """Writes a verdict on the last step, and later what follows it."""
        bare = dataclasses.replace(verdict, diagnosis=None, second=None)
        if self._recorder is not None:
            self._recorder.verdict("", verdict, step=step)
        self._line(bare.to_json())
        self._later("diagnosis", verdict.diagnosis)
        self._later("second", verdict.second)
        return verdict

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        for done in self._waiting:
            done.wait()
        if self._recorder is not None:
            self._recorder.wait()
        if self._failed is not None:
            raise self._failed

    def _later(self, key: str, future: Future[Diagnosis] | Future[Verdict] | None) -> None:
        if future is not None:
            self._waiting.append(done := threading.Event())
            future.add_done_callback(partial(self._follow, key, done))

    def _follow(
        self, key: str, done: threading.Event, future: Future[Diagnosis] | Future[Verdict]
    ) -> None:
        """Called after the recorder's callback, which may have failed."""
        try:
            if self._failed is None:
                self._line(json.dumps({key: future.result().to_dict()}))
        except Exception as error:  # a callback's would be lost: a closed pipe, mostly
            self._fail(error)
        finally:
            done.set()

    def _fail(self, error: Exception) -> None:
        self._failed = self._failed or error

    def _line(self, text: str) -> None:
        with self._lock:
            self._out.write(text + "\n")
            self._out.flush()


def _profile(first: tuple[str, object] | None) -> str:
    where, value = first or (f"{_WHERE}: line 1", None)
    profile = value.get("profile") if isinstance(value, dict) else None
    if not isinstance(profile, str) or "role" in (value if isinstance(value, dict) else {}):
        raise TrajectoryError(
            where,
            expected='{"profile": TEXT} before the steps',
            got="nothing" if value is None else type(value).__name__,
            fix='An agent without a profile is {"profile": ""}.',
        )
    return profile


def _step(where: str, value: object) -> Step:
    try:
        return Step.from_dict(value)
    except TrajectoryError as error:
        raise located(error, where) from error
