"""Where a risk came from: 15 labels."""

from __future__ import annotations

from enum import StrEnum

from stepguard.taxonomy.dimensions import Dimension, Label, Setting

_USER, _SEEN = "User Input", "Environmental Observation"
_OUTSIDE, _INSIDE = "External Entities", "Internal Logic and Failures"


class RiskSource(StrEnum):
    """Ids of the shipped risk sources."""

    MALICIOUS_USER_INSTRUCTION_OR_JAILBREAK = "malicious_user_instruction_or_jailbreak"
    DIRECT_PROMPT_INJECTION = "direct_prompt_injection"
    SENDER_SESSION_IDENTITY_AMBIGUITY = "sender_session_identity_ambiguity"
    INDIRECT_PROMPT_INJECTION = "indirect_prompt_injection"
    UNRELIABLE_OR_MISINFORMATION = "unreliable_or_misinformation"
    PERSISTENT_MEMORY_SESSION_STATE_CONTAMINATION = "persistent_memory_session_state_contamination"
    REPOSITORY_ARTIFACT_INJECTION = "repository_artifact_injection"
    TOOL_DESCRIPTION_INJECTION = "tool_description_injection"
    MALICIOUS_TOOL_EXECUTION = "malicious_tool_execution"
    CORRUPTED_TOOL_FEEDBACK = "corrupted_tool_feedback"
    SKILL_PLUGIN_SUPPLY_CHAIN_COMPROMISE = "skill_plugin_supply_chain_compromise"
    PLATFORM_TOOL_VULNERABILITY_EXPLOITATION = "platform_tool_vulnerability_exploitation"
    DEPENDENCY_MCP_SUPPLY_CHAIN_COMPROMISE = "dependency_mcp_supply_chain_compromise"
    INHERENT_AGENT_FAILURES = "inherent_agent_failures"
    POLICY_PRECEDENCE_MISINTERPRETATION = "policy_precedence_misinterpretation"


def _label(
    name: RiskSource, text: str, group: str, gist: str, setting: Setting = "base", *aliases: str
) -> Label:
    return Label(Dimension.RISK_SOURCE, name.value, text, gist, group, setting, aliases)


RISK_SOURCES = (
    _label(
        RiskSource.MALICIOUS_USER_INSTRUCTION_OR_JAILBREAK,
        "Malicious User Instruction or Jailbreak",
        _USER,
        "The person at the keyboard wants harm done, or argues the agent out of its rules.",
    ),
    _label(
        RiskSource.DIRECT_PROMPT_INJECTION,
        "Direct Prompt Injection",
        _USER,
        "What the user pastes or types looks normal but hides orders against the agent's limits.",
    ),
    _label(
        RiskSource.SENDER_SESSION_IDENTITY_AMBIGUITY,
        "Sender / Session Identity Ambiguity",
        _USER,
        "Nobody can tell whose order it was, and the agent uses rights that are not the asker's.",
        "claw",
    ),
    _label(
        RiskSource.INDIRECT_PROMPT_INJECTION,
        "Indirect Prompt Injection",
        _SEEN,
        "A page, mail, file or picture that the agent reads gives it orders, and it obeys.",
    ),
    _label(
        RiskSource.UNRELIABLE_OR_MISINFORMATION,
        "Unreliable or Mis-information",
        _SEEN,
        "What the agent relies on is false, stale or incomplete, though nobody planted it.",
        "base",
        "Unreliable or Misinformation",
    ),
    _label(
        RiskSource.PERSISTENT_MEMORY_SESSION_STATE_CONTAMINATION,
        "Persistent Memory / Session-State Contamination",
        _SEEN,
        "Something bad was saved earlier (memory, history, cookies) and steers what comes later.",
        "claw",
    ),
    _label(
        RiskSource.REPOSITORY_ARTIFACT_INJECTION,
        "Repository Artifact Injection",
        _SEEN,
        "Words in a code base, its tickets or reviews are followed as if the user had said them.",
        "codex",
    ),
    _label(
        RiskSource.TOOL_DESCRIPTION_INJECTION,
        "Tool Description Injection",
        _OUTSIDE,
        "A tool's own manual or schema was doctored, so that it is called in a harmful way.",
    ),
    _label(
        RiskSource.MALICIOUS_TOOL_EXECUTION,
        "Malicious Tool Execution",
        _OUTSIDE,
        "Running the tool does damage that it does not announce, or opens a hole.",
    ),
    _label(
        RiskSource.CORRUPTED_TOOL_FEEDBACK,
        "Corrupted Tool Feedback",
        _OUTSIDE,
        "Somebody changed what a tool answers: the agent learns lies, or receives orders that way.",
    ),
    _label(
        RiskSource.SKILL_PLUGIN_SUPPLY_CHAIN_COMPROMISE,
        "Skill / Plugin Supply-Chain Compromise",
        _OUTSIDE,
        "An add-on was already bad when the agent found, installed or updated it.",
        "claw",
    ),
    _label(
        RiskSource.PLATFORM_TOOL_VULNERABILITY_EXPLOITATION,
        "Platform / Tool Vulnerability Exploitation",
        _OUTSIDE,
        "A flaw of the machine, browser or tool runner is made use of during the run.",
        "claw",
    ),
    _label(
        RiskSource.DEPENDENCY_MCP_SUPPLY_CHAIN_COMPROMISE,
        "Dependency / MCP Supply-Chain Compromise",
        _OUTSIDE,
        "A library, installer or MCP server that the work needs was taken over by an attacker.",
        "codex",
    ),
    _label(
        RiskSource.INHERENT_AGENT_FAILURES,
        "Inherent Agent/LLM Failures",
        _INSIDE,
        "No outside cause: the agent reasons, remembers or chooses wrongly by itself.",
        "base",
        "Inherent Agent or LLM Failures",
    ),
    _label(
        RiskSource.POLICY_PRECEDENCE_MISINTERPRETATION,
        "Policy Precedence Misinterpretation",
        _INSIDE,
        "Rules contradict each other and the agent follows the one that should have yielded.",
        "claw",
    ),
)
