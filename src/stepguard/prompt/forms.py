"""Forms: how steps are laid out as text. A form is data; the manifest of a model carries it whole.

Rendering is incremental: the text of a trajectory is the text of its beginning and of its steps,
one after the other, and never changes once written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from stepguard.errors import PromptError
from stepguard.prompt.content import Text
from stepguard.prompt.step import Step

__all__ = ["AGENTDOG_1_0", "FORMS", "SHORT", "Form", "Rendered"]

# Takes content and whether it stands inside an agent step; returns it with forged delimiters made
# harmless, and how many there were.
Neutralise = Callable[[str, bool], tuple[str, int]]

_UNSAFE_IN_KEY = re.compile(r"[^\w .-]|[^\S ]")
_KEY_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Rendered:
    """A piece of rendered text and how many delimiters in its content were neutralised."""

    text: str
    neutralised: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """The texts around content. Agent values and the profile are stripped, content is not."""

    name: str
    profile_open: str
    profile_close: str
    history: str
    gap: str
    user: str
    environment: str
    agent: str
    key_open: str
    key_close: str
    values: Literal["python", "json"]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names that stand in brackets at the start of a line."""
        names = re.findall(r"\[(\w+)\]:", self.profile_open + self.history + self._roles)
        return (*names, "THOUGHT", "ACTION")

    @property
    def headers(self) -> tuple[str, ...]:
        """The lines without brackets that open a section."""
        lines = (self.profile_open + "\n" + self.history).split("\n")
        return tuple(line for line in lines if line.strip() and not line.startswith("["))

    @property
    def _roles(self) -> str:
        return self.user + self.environment + self.agent

    def begin(self, profile: str, neutralise: Neutralise) -> Rendered:
        """What stands before the first step."""
        text, count = neutralise(profile.strip(), False)
        # Stripped before and after: neutralising never adds or removes white space.
        head = f"{self.profile_open}{text}{self.profile_close}" if text else ""
        return Rendered(head + self.history, count)

    def step(self, step: Step, neutralise: Neutralise) -> Rendered:
        """One step, from the gap before it to its last character; "" for a step without content."""
        if step.role == "agent":
            return self._agent(step, neutralise)
        raw = self._value(step.fields[0][1])
        if not raw:
            return Rendered("")
        text, count = neutralise(raw, False)
        head = self.user if step.role == "user" else self.environment
        return Rendered(self.gap + head + text, count)

    def _agent(self, step: Step, neutralise: Neutralise) -> Rendered:
        parts, total = [], 0
        for key, value in step.fields:
            raw = self._value(value).strip()
            if not raw:
                continue
            name, renamed = self._key(key)
            text, count = neutralise(raw, True)
            parts.append(f"{self.key_open}{name}{self.key_close}{text}")
            total += renamed + count
        if not parts:
            return Rendered("")
        return Rendered(self.gap + self.agent + "".join(parts), total)

    def _value(self, text: Text) -> str:
        return text.python if self.values == "python" else text.json

    def _key(self, key: str) -> tuple[str, int]:
        """The key as it is printed, and 1 if it was changed: keys may come from an attacker."""
        if key in ("thought", "action"):
            return key.upper(), 0
        upper = key.upper()
        name = _UNSAFE_IN_KEY.sub("_", upper)[:_KEY_LENGTH].strip(" ") or "_"
        if name in self.keys:
            name += "_"
        return name, int(name != upper)

    def to_manifest(self) -> dict[str, str]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def from_manifest(data: object) -> Form:
        """Raises PromptError for missing, further or wrong entries."""
        names = [field.name for field in fields(Form)]
        if not isinstance(data, dict) or sorted(data) != sorted(names):
            raise PromptError(
                "prompt.form", expected=f"the keys {', '.join(names)}", got=repr(data)[:200]
            )
        for name in names:
            if not isinstance(data[name], str):
                raise PromptError(
                    f"prompt.form.{name}", expected="a string", got=repr(data[name])[:80]
                )
        if data["values"] not in ("python", "json"):
            raise PromptError(
                "prompt.form.values", expected="'python' or 'json'", got=repr(data["values"])
            )
        return Form(**data)


# The layout that AgentDoG 1.0 guards were trained on.
AGENTDOG_1_0 = Form(
    name="agentdog-1.0",
    profile_open="=== Agent Profile ===\n",
    profile_close="\n\n",
    history="=== Conversation History ===",
    gap="\n\n",
    user="[USER]: ",
    environment="[ENVIRONMENT]: ",
    agent="[AGENT]:",
    key_open="\n[",
    key_close="]: ",
    values="python",
)

# Our own: fewer tokens a step, JSON for objects.
SHORT = Form(
    name="short",
    profile_open="[PROFILE]: ",
    profile_close="\n",
    history="[STEPS]:",
    gap="\n",
    user="[USER]: ",
    environment="[ENVIRONMENT]: ",
    agent="[AGENT]:",
    key_open="\n[",
    key_close="]: ",
    values="json",
)

FORMS = {form.name: form for form in (AGENTDOG_1_0, SHORT)}
