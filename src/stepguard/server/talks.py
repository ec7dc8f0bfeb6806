"""The open sessions of a server, and when they are let go of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from stepguard.errors import SessionClosed, StepguardError, VerdictError
from stepguard.server.events import Event, Events
from stepguard.server.faults import Fault
from stepguard.server.settings import Settings
from stepguard.server.work import Work
from stepguard.session import Session
from stepguard.taxonomy import Verdict

_log = logging.getLogger("stepguard.server")

# A session keeps no more open checks than that, and the step that was committed last.
_MOST_VERDICTS = 65
_MOST_REAP_S = 5.0


@dataclass(eq=False)
class Talk:
    """A session of a client. Used on the event loop only; `session` on threads."""

    id: str
    owner: str
    session: Session
    events: Events
    verdicts: OrderedDict[int, tuple[Verdict, str]] = field(default_factory=OrderedDict)
    used: float = field(default_factory=time.monotonic)
    running: int = 0
    closed: bool = False
    """It takes no more calls; its session ends with those under way."""
    bound: bool = False
    """It lives as long as the connection on which it was opened, and is never idle."""

    def answered(self, call: str, verdict: Verdict, line: str, **more: Any) -> Event:
        """Publishes a verdict and keeps it for commit and reject. line: the hash of its record."""

        def data(number: int) -> dict[str, Any]:
            return {"id": number, "call": call, "verdict": verdict.to_dict(), **more}

        event = self.events.add("verdict", data)
        self.verdicts[event.number] = verdict, line
        while len(self.verdicts) > _MOST_VERDICTS:
            self.verdicts.popitem(last=False)
        if verdict.diagnosis is not None:
            self._later("diagnosis", event.number, verdict.diagnosis)
        if verdict.second is not None:
            self._later("second", event.number, verdict.second)
        return event

    def verdict(self, number: int) -> tuple[Verdict, str]:
        """The verdict of an answer, and the hash of its record.

        Raises VerdictError where it is not kept any more.
        """
        if number not in self.verdicts:
            raise VerdictError(
                "id",
                expected="that of one of the open checks",
                got=str(number)[:40],
                fix="Check the step again where the session stands now.",
            )
        return self.verdicts[number]

    def _later(self, kind: str, number: int, future: Future[Any]) -> None:
        loop = asyncio.get_running_loop()

        def publish() -> None:
            if not self.events.closed:
                value = future.result().to_dict()
                self.events.add(kind, lambda _: {"of": number, kind: value})

        def done(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(publish)

        future.add_done_callback(done)


class Talks:
    """Opens, finds and closes them. Used on the event loop only."""

    def __init__(self, settings: Settings, work: Work) -> None:
        self._settings, self._work = settings, work
        self._open: dict[str, Talk] = {}
        self._opening = 0

    def __len__(self) -> int:
        return len(self._open)

    async def open(self, owner: str, make: Callable[[], Session]) -> Talk:
        """Opens a session. Raises Fault 429 where there are too many."""
        if len(self._open) + self._opening >= self._settings.sessions:
            hint = "Close sessions that are done; idle ones are closed after a while."
            got = f"{len(self._open)} open sessions"
            raise Fault(429, "TooManySessions", "the server", got=got, hint=hint, retry_s=5)
        self._opening += 1
        try:
            session = await self._work.run(make)
        finally:
            self._opening -= 1
        talk = Talk(secrets.token_urlsafe(18), owner, session, Events(self._settings.events))
        self._open[talk.id] = talk
        return talk

    def get(self, number: str, owner: str) -> Talk:
        """The session of this name, if it is its owner who asks. Raises Fault 404."""
        talk = self._open.get(number)
        if talk is None or talk.owner != owner:
            hint = "Open one with POST /v1/sessions; idle ones are closed."
            raise Fault(404, "NoSuchSession", "the path", expected="an open session", hint=hint)
        return talk

    async def run(self, talk: Talk, call: Callable[[Session], Any]) -> Any:
        """A call on a session, which is not idle meanwhile. Raises SessionClosed."""
        if talk.closed:
            raise SessionClosed("the session", expected="an open one", got="a closed one")
        talk.running += 1
        ended = True
        try:
            return await self._work.run(partial(call, talk.session))
        except asyncio.CancelledError:  # the server ends, and the call goes on without it
            ended = False
            raise
        finally:
            talk.running -= 1
            talk.used = time.monotonic()
            if ended and talk.closed and not talk.running:
                await _let_go(talk)

    async def close(self, talk: Talk) -> None:
        """Lets go of a session; it may have been closed before. Where calls are under way, the last
        of them closes it: waiting for that would hold a thread all the time."""
        if self._open.pop(talk.id, None) is None:
            return
        talk.closed = True
        talk.events.close()
        talk.verdicts.clear()
        if not talk.running:
            await _let_go(talk)

    async def close_all(self) -> None:
        """Lets go of all of them. A session with a call under way only loses its readers: the
        guard's end lets go of it."""
        for talk in list(self._open.values()):
            if talk.running:
                talk.events.close()
            else:
                await self.close(talk)

    async def reap(self) -> None:
        """Closes idle sessions, for ever."""
        while True:
            await asyncio.sleep(min(_MOST_REAP_S, self._settings.idle_s / 4))
            for talk in [talk for talk in self._open.values() if self._idle(talk)]:
                await self.close(talk)

    def _idle(self, talk: Talk) -> bool:
        passed = time.monotonic() - talk.used
        return not talk.running and not talk.bound and passed > self._settings.idle_s


async def _let_go(talk: Talk) -> None:
    try:
        await talk.session.aclose()
    except StepguardError:
        _log.exception("a session could not be closed")
