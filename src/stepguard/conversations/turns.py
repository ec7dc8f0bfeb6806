"""Which turn of a list is to be judged, and the verdict of a turn as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from stepguard.conversations.content import Item, of_profile
from stepguard.messages import Entry, ToolCall
from stepguard.messages.calls import calls_text
from stepguard.prompt import Step
from stepguard.taxonomy import Turn, Verdict, worse


def asked_of(
    profile: str, items: Sequence[Item], calls: Sequence[ToolCall], given: bool
) -> tuple[list[Item], Item | None, list[int]]:
    """What comes before the turn, the turn, and which of its calls are asked about.

    calls: those that a host is about to run. They are looked for in the last step that makes calls,
    and are a step of their own behind the list where they are not in it. Without (`given` is
    False), the turn is the last step, if it is an action.
    """
    if not given or not calls:
        last = items[-1] if items else None
        if last is None or not last.entry.step.is_action:
            return list(items), None, []
        return list(items[:-1]), last, list(range(len(last.entry.calls)))
    place = next((i for i in reversed(range(len(items))) if items[i].entry.calls), None)
    if place is not None:
        after = [item.entry for item in items[place + 1 :]]
        indices = _places(items[place].entry.calls, calls, after)
        if indices is not None:
            return list(items[:place]), items[place], indices
    before = items[-1].after if items else of_profile(profile)
    step = Step.agent("", calls_text(calls))
    asked = Item(Entry(step, tuple(calls), len(items)), before)
    return list(items), asked, list(range(len(calls)))


def _places(
    there: Sequence[ToolCall], calls: Sequence[ToolCall], after: Sequence[Entry]
) -> list[int] | None:
    """Where the calls are in a turn that is still open: nothing but results of other calls came
    after it. None where it is not their turn."""
    if any(entry.step.role != "environment" for entry in after):
        return None
    answered = {entry.answers for entry in after}
    found: list[int] = []
    for call in calls:
        same = (
            i
            for i, one in enumerate(there)
            if i not in found and one.text == call.text and one.id == call.id
        )
        index = next(same, None)
        if index is None or (call.id in answered if call.id else after):
            return None
        found.append(index)
    return found


def worst(turn: Turn) -> Verdict:
    """The verdict of a turn that allows least."""
    return reduce(worse, turn.calls, turn.joint)


def same_for_all(verdict: Verdict, calls: object = None) -> Turn:
    """The same verdict for every call that was asked about."""
    count = len(calls) if isinstance(calls, list | tuple) else 1
    return Turn(verdict, (verdict,) * max(1, count))
