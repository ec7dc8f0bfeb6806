"""/v1/sessions: a trajectory that is read while it happens, over HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepguard.calls import joint_step
from stepguard.errors import VerdictError
from stepguard.prompt import Step
from stepguard.server.answer import Answer
from stepguard.server.body import Fields, read_json
from stepguard.server.events import Event, EventStream
from stepguard.server.faults import Fault
from stepguard.server.shared import Shared, answering, owner_of
from stepguard.server.talks import Talk
from stepguard.server.work import Due
from stepguard.session import Session
from stepguard.taxonomy import Diagnosis, Turn, Verdict

_PATH = "/v1/sessions"

_Call = Callable[[Talk, Fields], Awaitable[dict[str, Any]]]


class SessionEndpoints:
    """One method per call of a session."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._calls: dict[str, _Call] = {
            "observe": self._observe,
            "check": partial(self._ask, name="check"),
            "push": partial(self._ask, name="push"),
            "turn": self._turn,
            "judge": self._judge,
            "commit": self._commit,
            "reject": self._reject,
            "diagnose": self._diagnose,
        }

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route(_PATH, answering(self.open), methods=["POST"]),
            Route(f"{_PATH}/{{id}}", answering(self.close), methods=["DELETE"]),
            Route(f"{_PATH}/{{id}}/events", answering(self.events), methods=["GET"]),
            Route(f"{_PATH}/{{id}}/{{call}}", answering(self.call), methods=["POST"]),
        ]

    async def open(self, request: Request) -> Response:
        """Opens a session. With `Accept: text/event-stream` the answer is its stream of events, and
        the session ends with this connection."""
        fields = Fields(await read_json(request, self._shared.settings))
        options: dict[str, Any] = {
            "window": fields.choice("window", ("strict", "window"), "strict"),
            "diagnose": fields.flag("diagnose", True),
        }
        profile = fields.text("profile", "")
        fields.done()
        make = partial(self._shared.guard.session, profile, **options)
        talk = await self._shared.talks.open(owner_of(request), make)
        data = {"session": talk.id, "idle_s": self._shared.settings.idle_s}
        if "text/event-stream" not in request.headers.get("accept", ""):
            return Answer(data, 201)
        talk.bound = True
        ended = partial(self._shared.talks.close, talk)
        return EventStream(talk.events, first=Event(0, "opened", data), ended=ended)

    async def close(self, request: Request) -> Response:
        """Closes a session."""
        await self._shared.talks.close(self._talk(request))
        return Answer({})

    async def events(self, request: Request) -> Response:
        """The session's events after `Last-Event-ID`, and then as they come."""
        after = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
        if not (after.isascii() and after.isdigit() and len(after) < 16):
            expected = "the number of an event"
            raise Fault(400, "Malformed", "Last-Event-ID", expected=expected, got=repr(after)[:60])
        events = self._talk(request).events
        if int(after) > events.last:  # it would wait for what cannot come
            expected = f"at most {events.last}, the newest one"
            raise Fault(400, "Malformed", "Last-Event-ID", expected=expected, got=after)
        return EventStream(events, int(after))

    async def call(self, request: Request) -> Response:
        """A call of an open session."""
        name = request.path_params["call"]
        if name not in self._calls:
            expected = ", ".join(self._calls)
            raise Fault(404, "NoSuchCall", "the path", expected=expected, got=repr(name)[:60])
        talk = self._talk(request)
        fields = Fields(await read_json(request, self._shared.settings))
        return Answer(await self._calls[name](talk, fields))

    def _talk(self, request: Request) -> Talk:
        return self._shared.talks.get(request.path_params["id"], owner_of(request))

    def _due(self, fields: Fields) -> Due:
        settings = self._shared.settings
        due = fields.milliseconds("deadline_ms", settings.deadline_ms, settings.longest_ms)
        return self._shared.due(due)

    async def _run(self, talk: Talk, call: Callable[[Session], Any]) -> Any:
        return await self._shared.talks.run(talk, call)

    def _answer(
        self, talk: Talk, name: str, verdict: Verdict, line: str, **more: Any
    ) -> dict[str, Any]:
        self._shared.metrics.verdict(verdict)
        return talk.answered(name, verdict, line, **more).data

    async def _observe(self, talk: Talk, fields: Fields) -> dict[str, Any]:
        value, due = fields.take("step"), self._due(fields)
        fields.done()
        await self._run(
            talk, lambda session: session.observe(_step(value), deadline_ms=due.left_ms)
        )
        return {}

    async def _ask(self, talk: Talk, fields: Fields, name: str) -> dict[str, Any]:
        value, due = fields.take("step"), self._due(fields)
        fields.done()

        def ask(session: Session) -> tuple[Verdict, str]:
            step = _step(value)
            call = session.check if name == "check" else session.push
            verdict = call(step, deadline_ms=due.left_ms)
            with _dropped(session, verdict):
                return verdict, self._shared.records.verdict(talk.id, verdict, name, step=step)

        return self._answer(talk, name, *await self._run(talk, ask))

    async def _turn(self, talk: Talk, fields: Fields) -> dict[str, Any]:
        thought, actions = fields.take("thought", ""), fields.listed("actions")
        due = self._due(fields)
        fields.done()

        def ask(session: Session) -> tuple[Turn, str]:
            turn = session.check_turn(thought, actions, deadline_ms=due.left_ms)
            with _dropped(session, turn.joint):
                return turn, self._record_turn(talk, turn, thought, actions)

        turn, line = cast(tuple[Turn, str], await self._run(talk, ask))
        # Diagnoses of single calls are the session's own matter: the joint one has its event.
        alone = [dataclasses.replace(one, diagnosis=None, second=None) for one in turn.calls]
        calls = [one.to_dict() for one in alone]
        return self._answer(talk, "turn", turn.joint, line, calls=calls)

    def _record_turn(self, talk: Talk, turn: Turn, thought: object, actions: list[Any]) -> str:
        """A line for all calls together, and where there are several, one for each."""
        records = self._shared.records
        step = joint_step(thought, actions)
        line = records.verdict(talk.id, turn.joint, "turn", step=step)
        if len(actions) > 1:
            for one, action in zip(turn.calls, actions, strict=True):
                step = Step.agent(thought, action)
                records.verdict(talk.id, one, "turn", step=step, of=line)
        return line

    async def _judge(self, talk: Talk, fields: Fields) -> dict[str, Any]:
        due = self._due(fields)
        fields.done()

        def ask(session: Session) -> tuple[Verdict, str]:
            verdict = session.judge(deadline_ms=due.left_ms)
            return verdict, self._shared.records.verdict(talk.id, verdict, "judge")

        return self._answer(talk, "judge", *await self._run(talk, ask))

    async def _commit(self, talk: Talk, fields: Fields) -> dict[str, Any]:
        verdict, line = talk.verdict(fields.whole("id"))
        fields.done()

        def commit(session: Session) -> None:
            session.commit(verdict)
            with _dropped(session, verdict):
                self._decided(talk, "commit", verdict, line)

        await self._run(talk, commit)
        return {}

    async def _reject(self, talk: Talk, fields: Fields) -> dict[str, Any]:
        verdict, line = talk.verdict(fields.whole("id"))
        note = None if (value := fields.take("note", None)) is None else _text(value)
        fields.done()

        def reject(session: Session) -> None:
            session.reject(verdict, note)
            self._decided(talk, "reject", verdict, line)

        await self._run(talk, reject)
        return {}

    def _decided(self, talk: Talk, what: str, verdict: Verdict, line: str) -> None:
        self._shared.records.verdict(talk.id, verdict, what, of=line, outcome=what)

    async def _diagnose(self, talk: Talk, fields: Fields) -> dict[str, Any]:
        top, due = fields.whole("top", 1, least=1), self._due(fields)
        fields.done()

        def ask(session: Session) -> Diagnosis:
            return session.diagnose(deadline_ms=due.left_ms, top=min(top, 64))

        diagnosis = cast(Diagnosis, await self._run(talk, ask))
        return {"diagnosis": diagnosis.to_dict()}


@contextmanager
def _dropped(session: Session, verdict: Verdict) -> Iterator[None]:
    """A step whose verdict or commit could not be recorded is dropped."""
    try:
        yield
    except Fault:
        with contextlib.suppress(VerdictError):  # others came after it: it stays, as if it had run
            session.reject(verdict)
        raise


def _step(value: object) -> Step:
    """On the thread of its call: long ones take their time."""
    return Step.from_dict(value, "step")


def _text(value: object) -> str:
    if not isinstance(value, str):
        got = type(value).__name__
        raise Fault(400, "Malformed", "body.note", expected="a string or null", got=got)
    return value
