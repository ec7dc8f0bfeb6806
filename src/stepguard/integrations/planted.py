"""A gate without a guard, whose decisions are planted: it shows what a host makes of them."""

from __future__ import annotations

from stepguard.gate import Gate
from stepguard.messages import ToolCall, read_calls
from stepguard.policy import Decision, Outcome
from stepguard.policy.decision import Cause, fixed_text


class PlantedGate(Gate):
    """Decides every call in the same way."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.asked: list[Decision] = []
        """What was decided."""

    def check(
        self,
        key: str,
        messages: object,
        calls: object = None,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> list[Decision]:
        """The same decision for each call. Raises TrajectoryError for what is no call."""
        found = [self._planted(call) for call in read_calls(calls) or (ToolCall(""),)]
        self.asked += found
        return found

    async def acheck(
        self,
        key: str,
        messages: object,
        calls: object = None,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> list[Decision]:
        """The same."""
        return self.check(key, messages, calls)

    def observe(self, key: str, messages: object, *, tools: object = None) -> None:
        """Nothing is read."""

    def decided(self, key: str, calls: object = None, *, ran: bool) -> None:
        """Nothing is remembered."""

    async def adecided(self, key: str, calls: object = None, *, ran: bool) -> None:
        """The same."""

    def close(self, key: str | None = None) -> None:
        """Nothing is kept."""

    def _planted(self, call: ToolCall) -> Decision:
        text = fixed_text(self.outcome, Cause.UNSAFE)
        rule = f"planted.{self.outcome}"
        return Decision(outcome=self.outcome, rule=rule, text=text, tool=call.name, call_id=call.id)
