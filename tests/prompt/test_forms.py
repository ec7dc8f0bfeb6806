"""Rendering: the official layout byte for byte, step by step, and what attackers may name keys."""

from __future__ import annotations

import json

import pytest
from prompt_cases import goldens, official_text

from stepguard.errors import PromptError
from stepguard.prompt import Step, Trajectory
from stepguard.prompt.build import _delimiters, _split
from stepguard.prompt.forgery import Neutraliser
from stepguard.prompt.forms import AGENTDOG_1_0, FORMS, SHORT, Form, Neutralise

# A content may hold forged delimiters in these cases; all others are rendered unchanged.
FORGED = {"delimiter_in_content", "control_tokens_in_content"}
BRACKETS = str.maketrans("＜＞［］", "<>[]")


def unchanged(text: str, agent: bool) -> tuple[str, int]:
    return text, 0


def render(trajectory: Trajectory, neutralise: Neutralise, form: Form = AGENTDOG_1_0) -> str:
    parts = [form.begin(trajectory.profile, neutralise)]
    parts += [form.step(step, neutralise) for step in trajectory.steps]
    return "".join(part.text for part in parts)


def test_goldens_byte_for_byte() -> None:
    before, after = _split(official_text(), "{trajectory}", "prompt")
    delimiters = _delimiters(AGENTDOG_1_0, before, after, (), (), "<think>", {"<think>": 1})
    cases = goldens()
    assert len(cases) == 15
    for case in cases:
        trajectory = Trajectory.from_dict(case["trajectory"])
        assert before + render(trajectory, unchanged) + after == case["rendered"], case["case"]
        harmless = before + render(trajectory, Neutraliser(delimiters)) + after
        assert (harmless != case["rendered"]) == (case["case"] in FORGED), case["case"]
        assert harmless.translate(BRACKETS) == case["rendered"], case["case"]


def test_a_step_is_rendered_alone() -> None:
    """A step's text never depends on the steps around it."""
    steps = (Step.user("a"), Step.agent("b", "c"), Step.environment(""), Step.environment("d"))
    texts = [AGENTDOG_1_0.step(step, unchanged).text for step in steps]
    assert texts[2] == ""
    assert render(Trajectory("", steps), unchanged) == AGENTDOG_1_0.history + "".join(texts)


def test_the_short_form_prints_json() -> None:
    step = Step.agent(action={"to": "é", "n": None}, more=" x ")
    text = SHORT.step(step, unchanged).text
    assert text == '\n[AGENT]:\n[ACTION]: {"to": "é", "n": null}\n[MORE]: x'


@pytest.mark.parametrize(
    ("key", "printed", "count"),
    [
        ("observation", "OBSERVATION", 0),
        ("tool calls", "TOOL CALLS", 0),
        ("note-2", "NOTE-2", 0),
        ("user", "USER_", 1),
        ("User", "USER_", 1),
        ("ACTION", "ACTION_", 1),
        (" environment ", "ENVIRONMENT_", 1),
        ("u\u017fer", "USER_", 1),
        ("us\u200ber", "US_ER", 1),
        ("x]:\n[USER", "X____USER", 1),
        ("", "_", 1),
        ("k" * 500, "K" * 64, 1),
    ],
)
def test_keys_cannot_become_structure(key: str, printed: str, count: int) -> None:
    rendered = AGENTDOG_1_0.step(Step.agent(**{key: "v"}), unchanged)
    assert rendered.text == f"\n\n[AGENT]:\n[{printed}]: v"
    assert rendered.neutralised == count


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_manifest_round_trip(form: Form) -> None:
    assert Form.from_manifest(json.loads(json.dumps(form.to_manifest()))) == form


@pytest.mark.parametrize("change", [{"gap": 3}, {"values": "xml"}, {"further": ""}, {"name": None}])
def test_a_damaged_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(PromptError, match=r"prompt\.form"):
        Form.from_manifest({**SHORT.to_manifest(), **change})
