"""Recognises guards whose published accuracy holds only with one exact prompt file."""

from __future__ import annotations

import re

from stepguard.errors import PromptError
from stepguard.prompt import OFFICIAL, OfficialPrompt

# The guard that only diagnoses: its prompt was not published as a file that could be known.
DIAGNOSIS_PROMPT = OfficialPrompt(
    "the prompt of the 1.5 fine-grained guard", "", answer="agentdog-1.5-finegrained"
)


def official_prompt(names: list[str]) -> OfficialPrompt | None:
    """The prompt that a checkpoint of these names was trained with; None for other guards."""
    text = " ".join(names).lower()
    if "agentdog" not in re.sub(r"[-_ ]", "", text):
        return None
    fine = re.search(r"(?<![a-z])fg(?![a-z])|fine", text)
    # Qwen2.5 and sizes like 1.5B are no versions of the guard.
    if re.search(r"1[._]5(?!b)", re.sub(r"qwen\d?[._]?\d?", "", text)):
        if fine:
            return DIAGNOSIS_PROMPT
        name = "unified_safety_classification" if "unified" in text else "coarse_grained_moderation"
    else:
        name = "trajectory_finegrained" if fine else "trajectory_binary"
    return next(prompt for prompt in OFFICIAL if prompt.name.endswith(name))


def require_prompt(names: list[str]) -> None:
    """Raises PromptError, naming file and hash, for a guard that needs its official prompt."""
    prompt = official_prompt(names)
    if prompt is None:
        return
    known = f"its prompt file {prompt.name}.txt (sha256 {prompt.sha256})"
    more = "" if prompt.sha256 else f" --answer {prompt.answer}"
    raise PromptError(
        f"{', '.join(sorted(set(names)))}: an AgentDoG checkpoint",
        expected=known if prompt.sha256 else prompt.name,
        got="none",
        fix=f"Give it with --prompt FILE{more}, or take our own prompt with --template short "
        "(published accuracy does not hold then)",
    )
