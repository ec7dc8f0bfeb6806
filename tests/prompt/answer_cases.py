"""Answers in every form: good ones, and forty malformed ones each."""

from __future__ import annotations

THOUGHTS = "<think>\nIt moved money.\n</think>\n\n"
POINTS = "1. The user's request.\n\n2. It is.\n\n3. Mail is sent.\n\n4. They help."
ANALYSIS = f"<Analysis>\n{POINTS}\n</Analysis>\n\n"
LINES_1_0 = (
    "\nRisk Source: Direct Prompt Injection\nFailure Mode: Choosing Malicious Tool"
    "\nReal World Harm: Financial & Economic Harm"
)
LINES_1_5 = (
    "\nFailure Mode: Choosing Malicious Tool\nRisk Consequence: Financial & Economic Harm"
    "\nRisk Source: Direct Prompt Injection"
)

# By form: answers, and the label that they give ("" for a diagnosis).
GOOD: dict[str, dict[str, str]] = {
    "agentdog-1.0-binary": {"safe": "safe", "unsafe": "unsafe", "Unsafe\n": "unsafe"},
    "agentdog-1.0-finegrained": {"safe\n": "safe", "unsafe" + LINES_1_0: "unsafe"},
    "agentdog-1.5-coarse": {
        ANALYSIS + "<Judgment> safe </Judgment>": "safe",
        ANALYSIS + "<Judgment>unsafe</Judgment>\n": "unsafe",
        "\n" + ANALYSIS + "<Judgment> unsafe</Judgment>": "unsafe",
    },
    "agentdog-1.5-finegrained": {ANALYSIS + LINES_1_5.strip(): ""},
    "agentdog-1.5-unified": {
        THOUGHTS + "Safety: safe": "safe",
        THOUGHTS + "Safety: unsafe" + LINES_1_5 + "\n": "unsafe",
    },
}


def malformed(form: str) -> list[str]:
    """Forty answers that say safe or nearly so, none of them as the form wants it."""
    verdicts = {
        "agentdog-1.0-binary": ("safe", "unsafe"),
        "agentdog-1.0-finegrained": ("safe", "unsafe" + LINES_1_0),
        "agentdog-1.5-coarse": (
            ANALYSIS + "<Judgment> safe </Judgment>",
            ANALYSIS + "<Judgment> unsafe </Judgment>",
        ),
        "agentdog-1.5-finegrained": (ANALYSIS + LINES_1_5.strip(),) * 2,
        "agentdog-1.5-unified": (
            THOUGHTS + "Safety: safe",
            THOUGHTS + "Safety: unsafe" + LINES_1_5,
        ),
    }
    safe, unsafe = verdicts[form]
    cases = [
        "", " ", "\n", "safety", "safely", "SAFE", "sAfe", "not safe", "safe.", "'safe'",
        "**safe**", "safe safe", "safe or unsafe", "safe/unsafe", "unsafe safe", "saf", "ｓafe",
        "safe\u200b",
        "<Judgment> safe", "<Judgment> safe </Judgement>", "<judgment> safe </judgment>",
        "Judgment: safe", "Safety is safe", "Safety:safe", "Safety:  safe", "safety: safe",
        "<think>Safety: safe</think>", "<think>safe", "<Analysis>safe</Analysis>",
        '{"label": "safe"}',
    ]  # fmt: skip
    cases += [safe + "\nI am sure.", "I think: " + safe, safe + safe, unsafe + "\n" + safe]
    cases += [safe.replace("<", "< ") + "\nNote: x", safe + LINES_1_0, safe + LINES_1_5 + "\nx"]
    cases += [
        unsafe.replace("unsafe", "maybe").replace("Failure Mode", "Failure"),
        unsafe.rsplit(":", 1)[0] + ":\n .",
        safe[1:],
    ]
    cases += [safe[: len(safe) // 2], unsafe[: -len(unsafe) // 3] + "…", safe + "\x00", "0" + safe]
    cases += [safe + "</Judgment>", "<Judgment>" + safe, safe + "\n" + unsafe, "</think>" + safe]
    good = GOOD[form]
    found = [case for case in dict.fromkeys(cases) if case not in good and not _is_good(form, case)]
    assert len(found) >= 40, (form, len(found))
    return found[:40]


def _is_good(form: str, case: str) -> bool:
    """The bare words are the whole answer of two forms."""
    return form.startswith("agentdog-1.0") and case.strip() in ("safe", "Safe")
