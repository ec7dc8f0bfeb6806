"""What a host has of a conversation, as steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepguard.messages.calls import ToolCall, calls_of, calls_text
from stepguard.prompt import Step
from stepguard.prompt.content import content_text


@dataclass(frozen=True, slots=True)
class Uncovered:
    """Something of the input that no model reads. place: like `messages[3].content[1]`.

    kind: what it is (`image_url`, `hidden reasoning` ...). counted: whether it lowers the coverage.
    What a provider hides of a model's reasoning does not: nobody can read it, and it runs nothing.
    """

    place: str
    kind: str
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """One step, the calls that an agent makes with it, and the index of its message.

    answers: id of the call whose result it is, "" where it is none or has no id.
    """

    step: Step
    calls: tuple[ToolCall, ...] = ()
    at: int = 0
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A profile, entries in order, and what of the input they do not show."""

    profile: str
    entries: tuple[Entry, ...]
    uncovered: tuple[Uncovered, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps alone."""
        return tuple(entry.step for entry in self.entries)


class Builder:
    """Puts a transcript together. `at` is the index of the message that is being read.

    What the agent says and does is collected until somebody else speaks, or `end_turn` is called.
    """

    def __init__(self) -> None:
        self.at = 0
        self._profile: list[str] = []
        self._entries: list[Entry] = []
        self._uncovered: list[Uncovered] = []
        self._said: list[str] = []
        self._calls: list[ToolCall] = []
        self._begun: int | None = None

    def system(self, content: object) -> None:
        """Instructions: part of the profile in front of everything, else a step of the user's."""
        if self._entries or self._begun is not None:
            self.user(content)
        elif text := content_text(content).json:
            self._profile.append(text)

    def user(self, content: object, unread: int = 0) -> None:
        """A user's step. unread: parts beside the content that nobody reads."""
        self._other(Step.user(content), unread)

    def environment(self, content: object, unread: int = 0, answers: object = None) -> None:
        """What came back. answers: the id of the call, where there is one."""
        self._other(Step.environment(content), unread, answers if isinstance(answers, str) else "")

    def say(self, text: str) -> None:
        """Text of the agent."""
        self._begin()
        if text.strip():
            self._said.append(text)

    def call(self, call: ToolCall) -> None:
        """A call that the agent proposes."""
        self._begin()
        self._calls.append(call)

    def step(self, step: Step) -> None:
        """A step that is one already."""
        self.end_turn()
        self._entries.append(Entry(step, calls_of(step), self.at))

    def uncovered(self, place: str, kind: str, *, counted: bool = True) -> None:
        """Lists what is not read."""
        self._uncovered.append(Uncovered(place, kind, counted))

    def unread(self, place: str, kind: str) -> None:
        """Something of the agent's that has no text. It is a step of its own: an action that the
        model did not see whole would never be judged."""
        self.uncovered(place, kind)
        text = content_text([{"type": kind}])
        self._entries.append(Entry(Step("agent", (("thought", text),), 1), (), self.at))

    def end_turn(self) -> None:
        """The agent has said all of this turn."""
        said, calls, at = "\n".join(self._said), tuple(self._calls), self._begun
        self._said, self._calls, self._begun = [], [], None
        if at is not None and (said or calls):
            self._entries.append(Entry(Step.agent(said, calls_text(calls)), calls, at))

    def done(self, tools: str = "") -> Transcript:
        """All of it. tools: the text of the tools, which follows the instructions."""
        self.end_turn()
        profile = "\n\n".join([*self._profile, *([tools] if tools else [])])
        return Transcript(profile, tuple(self._entries), tuple(self._uncovered))

    def _begin(self) -> None:
        self._begun = self.at if self._begun is None else self._begun

    def _other(self, step: Step, unread: int, answers: str = "") -> None:
        self.end_turn()
        step = replace(step, unreadable=step.unreadable + unread) if unread else step
        self._entries.append(Entry(step, (), self.at, answers))
