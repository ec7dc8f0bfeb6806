"""What an agent did, step by step: the input of a session, in the shape of the labelled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stepguard.errors import TrajectoryError
from stepguard.prompt.content import Text, content_text, value_text

__all__ = ["Role", "Step", "Trajectory"]

Role = Literal["user", "agent", "environment"]

_ROLES = "'user', 'agent' or 'environment'"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trajectory. Build it with `user`, `agent`, `environment` or `from_dict`.

    `fields` are its keys and texts in their own order (for user and environment steps one key,
    `content`); `unreadable` counts what could not be read as text: parts that are no text, and
    further keys of a user or environment step, which no form renders.
    """

    role: Role
    fields: tuple[tuple[str, Text], ...]
    unreadable: int = 0

    @staticmethod
    def user(content: object) -> Step:
        """What the user wrote: a string, a list of parts, or an object that is printed as JSON."""
        return _one_content("user", content, 0)

    @staticmethod
    def agent(thought: object = "", action: object = "", **more: object) -> Step:
        """What the agent thought and does; further keys are rendered in their own order."""
        return _agent({"thought": thought, "action": action, **more})

    @staticmethod
    def environment(content: object) -> Step:
        """What came back: a tool's result, a page, a message."""
        return _one_content("environment", content, 0)

    @staticmethod
    def from_dict(data: object, where: str = "step") -> Step:
        """A step from a JSON object. Raises TrajectoryError that names `where` and the key."""
        if not isinstance(data, Mapping):
            raise TrajectoryError(where, expected="a step (an object)", got=_kind(data))
        if "role" not in data:
            raise TrajectoryError(where, expected=f"a key 'role' with {_ROLES}", got=_keys(data))
        for key in data:
            if not isinstance(key, str):
                raise TrajectoryError(where, expected="keys that are strings", got=_kind(key))
        role = data["role"]
        if role == "agent":
            return _agent({key: value for key, value in data.items() if key != "role"})
        if role not in ("user", "environment"):
            got = repr(role)[:80] if isinstance(role, str) else _kind(role)
            raise TrajectoryError(f"{where}.role", expected=_ROLES, got=got)
        if "content" not in data:
            raise TrajectoryError(where, expected="a key 'content'", got=_keys(data))
        ignored = sum(
            k not in ("role", "content") and not value_text(v).empty for k, v in data.items()
        )
        return _one_content(role, data["content"], ignored)

    @property
    def is_action(self) -> bool:
        """Whether this is an agent step with a non-empty action, which gets a verdict."""
        return self.role == "agent" and any(
            key == "action" and not text.empty for key, text in self.fields
        )


def _one_content(role: Role, content: object, ignored: int) -> Step:
    text = content_text(content)
    return Step(role, (("content", text),), text.unreadable + ignored)


def _agent(values: Mapping[str, object]) -> Step:
    fields = tuple((key, value_text(value)) for key, value in values.items())
    return Step("agent", fields, sum(text.unreadable for _, text in fields))


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A whole trajectory: the agent's profile ("" for none) and its steps in order."""

    profile: str
    steps: tuple[Step, ...]

    @staticmethod
    def from_dict(data: object, where: str = "trajectory") -> Trajectory:
        """From `{profile, contents}`; `contents` is a flat list of steps or a list of rounds.

        Further keys of the trajectory (id, label ...) are left alone. Raises TrajectoryError that
        names the place, like `contents[2][0].role`.
        """
        if not isinstance(data, Mapping):
            raise TrajectoryError(where, expected="an object with 'contents'", got=_kind(data))
        if "contents" not in data:
            raise TrajectoryError(where, expected="a key 'contents'", got=_keys(data))
        steps: list[Step] = []
        for i, entry in enumerate(_list(data["contents"], "contents")):
            if isinstance(entry, Mapping):
                steps.append(Step.from_dict(entry, f"contents[{i}]"))
                continue
            for j, step in enumerate(_list(entry, f"contents[{i}]")):
                steps.append(Step.from_dict(step, f"contents[{i}][{j}]"))
        return Trajectory(profile_text(data.get("profile")), tuple(steps))


def profile_text(profile: object, where: str = "profile") -> str:
    """The profile of a trajectory or stream; None is none. Raises TrajectoryError."""
    if profile is None:
        return ""
    if not isinstance(profile, str):
        raise TrajectoryError(where, expected="a string", got=_kind(profile))
    return profile


def _list(value: object, where: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise TrajectoryError(where, expected="a list of steps or of rounds", got=_kind(value))
    return value


def _kind(value: object) -> str:
    names = {"NoneType": "null", "dict": "an object", "list": "a list", "str": "a string"}
    return names.get(type(value).__name__, type(value).__name__)


def _keys(data: Mapping[object, object]) -> str:
    names = [repr(key)[:40] for key in list(data)[:8]]
    return f"the keys {', '.join(names)}" if names else "no keys"
