"""Which guards need which official prompt."""

from __future__ import annotations

import pytest

from stepguard.errors import PromptError
from stepguard.export.official import DIAGNOSIS_PROMPT, official_prompt, require_prompt


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("AgentDoG-Qwen3-4B", "v1.0/trajectory_binary"),
        ("AI45Research/AgentDoG-Qwen2.5-7B", "v1.0/trajectory_binary"),
        ("agentdog_llama3.1-8b.Q4_0.gguf", "v1.0/trajectory_binary"),
        ("AgentDoG-Qwen2.5-1.5B", "v1.0/trajectory_binary"),
        ("AgentDoG-FG-Qwen3-4B", "v1.0/trajectory_finegrained"),
        ("Agent-DoG 1.5 Qwen3.5-0.8B", "v1.5/coarse_grained_moderation"),
        ("AgentDoG1.5-Unified-Qwen3.5-4B", "v1.5/unified_safety_classification"),
    ],
)
def test_recognised(name: str, file: str) -> None:
    prompt = official_prompt(["Qwen/Qwen3-4B", name])
    assert prompt is not None
    assert prompt.name == file
    with pytest.raises(PromptError) as caught:
        require_prompt(["base", name])
    for part in (f"{file}.txt", prompt.sha256, "--prompt", "--template short"):
        assert part in str(caught.value)


def test_the_guard_that_only_diagnoses() -> None:
    """Its prompt is no known file: whoever has it says what it is."""
    names = ["AgentDoG1.5-FG-Qwen3.5-4B"]
    assert official_prompt(names) == DIAGNOSIS_PROMPT
    with pytest.raises(PromptError, match=r"--prompt FILE --answer agentdog-1\.5-finegrained"):
        require_prompt(names)


@pytest.mark.parametrize("name", ["Qwen3-4B", "SmolLM2-135M", "agent-guard", "dog"])
def test_others(name: str) -> None:
    assert official_prompt([name]) is None
    require_prompt([name])
