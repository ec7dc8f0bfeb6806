"""What small random guards write: the same alone, beside others, and for a whole trajectory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard, Step
from stepguard.errors import ModelFormatError, PromptError
from stepguard.export import export_model
from stepguard.taxonomy import Calibration, Verdict
from tests.export.tiny import make_checkpoint
from tests.front.conftest import _HYBRID

TEMPLATE = "Judge:\n<LOG>\n{formatted_trajectory}\n</LOG>\n<T>\n{tool_list_text}\n</T>\nAnswer."
STEPS = [
    [Step.user(f"Do {n}"), Step.agent("I look.", f"ls {n * 'x'}"), Step.environment("a\nb"),
     Step.agent("Now.", f"rm {n}")]
    for n in range(5)
]  # fmt: skip


@pytest.fixture(scope="module", params=["attention", "hybrid"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    arch, shape = ("qwen3", {}) if request.param == "attention" else ("qwen3_5_text", _HYBRID)
    checkpoint = make_checkpoint(
        folder / "checkpoint", arch, seed=5, max_position_embeddings=4096, **shape
    )
    (folder / "prompt.txt").write_text(TEMPLATE)
    export_model(
        checkpoint,
        folder / "model",
        quant="int8",
        prompt=folder / "prompt.txt",
        answer="agentdog-1.5-coarse",
    )
    return folder / "model"


def said(verdict: Verdict) -> tuple[object, ...]:
    return (verdict.status, verdict.reason, verdict.rationale, verdict.margin, verdict.step)


def test_alone_beside_others_and_at_once(model: Path) -> None:
    """Also on one thread and in forwards of seven tokens."""

    def push(guard: Guard, steps: list[Step]) -> list[tuple[object, ...]]:
        with guard.session("Tools: ls, rm") as session:
            verdicts = [session.follow(step) for step in steps]
        return [said(verdict) for verdict in verdicts if verdict is not None]

    options = {"mode": "rationale", "rationale_limit": 24, "save_prefix": False}
    with Guard.load(model, threads=2, **options) as guard:  # type: ignore[arg-type]
        alone = [push(guard, steps) for steps in STEPS]
        with ThreadPoolExecutor(len(STEPS)) as pool:
            assert list(pool.map(lambda steps: push(guard, steps), STEPS)) == alone
        trajectories = [{"profile": "Tools: ls, rm", "contents": _dicts(steps)} for steps in STEPS]
        found = guard.moderate_many(trajectories)
        assert [[said(v) for v in verdicts] for verdicts in found] == alone
    with Guard.load(model, threads=1, chunk=7, **options) as guard:  # type: ignore[arg-type]
        assert push(guard, STEPS[3]) == alone[3]
    texts = {verdict[2] for verdicts in alone for verdict in verdicts}
    assert len(texts) > 5
    assert max(len(text) for text in texts if isinstance(text, str)) > 10


def _dicts(steps: list[Step]) -> list[dict[str, str]]:
    return [
        {"role": step.role, **{key: value.json for key, value in step.fields}} for step in steps
    ]


def test_every_mode_reads_the_same_steps(model: Path) -> None:
    """Forced verdicts cost no written token, and a mode that the guard has not is refused."""
    with Guard.load(model, mode="forced", save_prefix=False) as guard:
        (verdict, _) = guard.moderate({"contents": _dicts(STEPS[1])})
        assert (verdict.mode, verdict.rationale) == ("forced", None)
        assert verdict.margin is not None
        assert "seconds_NextToken" in guard.stats()
    with pytest.raises(PromptError, match="expected one of forced, rationale, got 'first_token'"):
        Guard.load(model, mode="first_token")
    with pytest.raises(ValueError, match="rationale_limit: expected a whole number from 1"):
        Guard.load(model, mode="rationale", rationale_limit=0)


def test_escalation_on_a_real_engine(model: Path) -> None:
    options: dict[str, Any] = {"rationale_limit": 12, "save_prefix": False}
    unsure = Calibration(1.0, 0.0, 0.0, 1.0)  # whatever comes
    with Guard.load(model, mode="forced", escalate="rationale", **options) as guard:
        judge = replace(guard._reader.judge, calibration=unsure)
        guard._reader = replace(guard._reader, judge=judge)
        before = guard.stats()["tokens"]
        with guard.session("P") as session:
            verdicts = [session.push(Step.agent("", f"act {n}")) for n in range(6)]
        # A random model writes nothing that could be read, so the first verdict stands.
        assert {verdict.mode for verdict in verdicts} == {"forced"}
        assert {verdict.status for verdict in verdicts} == {"unsure"}
        assert guard.stats()["tokens"] - before > sum(verdict.tokens_read for verdict in verdicts)


def test_a_guard_that_only_diagnoses_can_be_exported_and_loaded(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "llama", seed=1)
    (tmp_path / "prompt.txt").write_text(TEMPLATE)
    form = "agentdog-1.5-finegrained"
    options = {"quant": "int4", "prompt": tmp_path / "prompt.txt", "answer": form}
    export_model(checkpoint, tmp_path / "model", **options)  # type: ignore[arg-type]
    with Guard.load(tmp_path / "model", save_prefix=False) as guard:
        assert (guard.prompt.mode, guard.prompt.gives_verdicts) == ("diagnosis", False)
        with guard.session() as session:
            session.observe(Step.user("x"))
            with pytest.raises(PromptError, match="one that only diagnoses"):
                session.push(Step.agent("", "y"))


def test_a_mode_that_writes_needs_a_graph_that_writes(tmp_path: Path, model: Path) -> None:
    """A manifest that promises more than the graph has."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "llama", seed=1)
    export_model(checkpoint, tmp_path / "silent", quant="int4", template="short")
    from stepguard.opening import _rationale

    with Guard.load(tmp_path / "silent", save_prefix=False) as guard:
        assert list(guard.prompt.modes) == ["first_token"]
        with pytest.raises(ModelFormatError, match="a graph with NextToken"):
            _rationale(guard.prompt, None, guard._reader.engine)  # type: ignore[arg-type]
