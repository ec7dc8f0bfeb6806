"""/v1/moderations: the wire shape of OpenAI's moderation endpoint."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepguard.prompt import Step
from stepguard.server.answer import Answer
from stepguard.server.body import Fields, read_json
from stepguard.server.faults import Fault
from stepguard.server.shared import Shared, answering, owner_of
from stepguard.server.work import Due
from stepguard.taxonomy import Status, Verdict

# What the client's types require. A guard does not tell these apart, so they are never set.
_THEIRS = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_OURS = {status: f"stepguard/{status.value}" for status in Status if status is not Status.SAFE}


class Moderations:
    """Judges texts by themselves, each as what a user says to an agent."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def routes(self) -> list[Route]:
        """The endpoint."""
        return [Route("/v1/moderations", answering(self.create), methods=["POST"])]

    async def create(self, request: Request) -> Response:
        """One result per input; a list of parts is one input."""
        shared = self._shared
        fields = Fields(await read_json(request, shared.settings))
        inputs = _inputs(fields.take("input"), shared.settings.inputs)
        fields.take("model", None)  # of another supplier; there is one guard here
        fields.done()
        due = shared.due()
        who = owner_of(request)
        verdicts = await shared.work.run(lambda: _judge(shared, who, inputs, due))
        for verdict in verdicts:
            shared.metrics.verdict(verdict)
        name = f"stepguard-{shared.guard.manifest.sha256[:12]}"
        results = [_result(verdict) for verdict in verdicts]
        identity = f"modr-{secrets.token_hex(12)}"
        return Answer({"id": identity, "model": name, "results": results})


def _inputs(value: object, most: int) -> list[Any]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            if len(value) > most:
                expected = f"at most {most} texts"
                raise Fault(413, "TooLarge", "body.input", expected=expected, got=str(len(value)))
            return value
        if all(isinstance(item, dict) and isinstance(item.get("type"), str) for item in value):
            return [value]
    expected = "a string, a list of strings, or a list of parts with a type"
    raise Fault(400, "Malformed", "body.input", expected=expected, got=type(value).__name__)


def _judge(shared: Shared, who: str, inputs: list[Any], due: Due) -> list[Verdict]:
    verdicts = []
    for step in map(Step.user, inputs):
        with shared.guard.session(diagnose=False) as session:
            verdicts.append(session.push(step, deadline_ms=due.left_ms))
        shared.records.verdict(who, verdicts[-1], "moderation", step=step)
    return verdicts


def _result(verdict: Verdict) -> dict[str, Any]:
    """`flagged` is everything that is not safe, or not read completely."""
    whole = not verdict.unreadable and verdict.coverage == 1.0
    categories = {**dict.fromkeys(_THEIRS, False)}
    categories |= {name: verdict.status is status for status, name in _OURS.items()}
    scores = {**dict.fromkeys(_THEIRS, 0.0)}
    scores |= {name: float(verdict.status is status) for status, name in _OURS.items()}
    if verdict.score is not None:
        scores[_OURS[Status.UNSAFE]] = verdict.score
    return {
        "flagged": not (verdict.allowed and whole),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in categories},
        "stepguard": verdict.to_dict(),
    }
