"""Forms: how steps are laid out as text. A form is data; the manifest of a model carries it whole.

Rendering is incremental: the text of a trajectory is the text of its beginning and of its steps,
one after the other, and never changes once written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

from stepguard.errors import PromptError
from stepguard.prompt.content import Text
from stepguard.prompt.step import Step

__all__ = ["AGENTDOG_1_0", "AGENTDOG_1_5", "FORMS", "SHORT", "Form", "Rendered"]

# Takes content and whether it stands inside an agent step; returns it with forged delimiters made
# harmless, and how many there were.
Neutralise = Callable[[str, bool], tuple[str, int]]

# The last four are fillers: letters that show nothing.
_UNSAFE_IN_KEY = re.compile("[^\\w .-]|[^\\S ]|[\u115f\u1160\u3164\uffa0]")
_KEY_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Rendered:
    """A piece of rendered text and how many delimiters in its content were neutralised."""

    text: str
    neutralised: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """The texts around content. Agent values are stripped, content is not; `profile` says both."""

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
    profile: Literal["stripped", "as it is"] = "stripped"

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
        shown = self.shown_profile(profile, neutralise)
        head = f"{self.profile_open}{shown.text}{self.profile_close}" if shown.text else ""
        return Rendered(head + self.history, shown.neutralised)

    def shown_profile(self, profile: str, neutralise: Neutralise) -> Rendered:
        """The profile as it is printed, in its section and wherever a template asks for it."""
        # Stripped before and after: neutralising never adds or removes white space.
        text, count = neutralise(profile.strip() if self.profile == "stripped" else profile, False)
        return Rendered(text, count)

    def step(self, step: Step, neutralise: Neutralise) -> Rendered:
        """One step, from the gap before it to its last character; "" for a step without content."""
        if step.role == "agent":
            return self._agent(step, neutralise)
        raw = self.value(step.fields[0][1])
        if not raw:
            return Rendered("")
        text, count = neutralise(raw, False)
        head = self.user if step.role == "user" else self.environment
        return Rendered(self.gap + head + text, count)

    def _agent(self, step: Step, neutralise: Neutralise) -> Rendered:
        parts, total = [], 0
        for key, value in step.fields:
            raw = self.value(value).strip()
            if not raw:
                continue
            name, renamed = self._key(key, neutralise)
            text, count = neutralise(raw, True)
            parts.append(f"{self.key_open}{name}{self.key_close}{text}")
            total += renamed + count
        if not parts:
            return Rendered("")
        return Rendered(self.gap + self.agent + "".join(parts), total)

    def value(self, text: Text) -> str:
        """The text of one value of a step, as this form prints it."""
        return text.python if self.values == "python" else text.json

    def _key(self, key: str, neutralise: Neutralise) -> tuple[str, int]:
        """The key as it is printed, and 1 if it was changed: keys may come from an attacker."""
        if key in ("thought", "action"):
            return key.upper(), 0
        upper = key.upper()
        name = _UNSAFE_IN_KEY.sub("_", upper)[:_KEY_LENGTH].strip(" ") or "_"
        # Compatibility forms too: here a name that only looks like one of ours has no honest use.
        plain = unicodedata.normalize("NFKC", name).upper().strip()
        if plain in self.keys or neutralise(f"[{plain}]:", False)[1]:
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
        choices = {"values": ("python", "json"), "profile": ("stripped", "as it is")}
        for name, allowed in choices.items():
            if data[name] not in allowed:
                expected, got = " or ".join(map(repr, allowed)), repr(data[name])
                raise PromptError(f"prompt.form.{name}", expected=expected, got=got)
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

# The same layout for AgentDoG 1.5, but for the edges of the profile.
AGENTDOG_1_5 = replace(AGENTDOG_1_0, name="agentdog-1.5", profile="as it is")

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

FORMS = {form.name: form for form in (AGENTDOG_1_0, AGENTDOG_1_5, SHORT)}
