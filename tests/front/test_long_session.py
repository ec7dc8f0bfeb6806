"""A session far longer than its context: verdicts go on, each rests on exactly what it says, and
what they cost per step does not grow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stepguard import Guard, Trajectory
from stepguard.bench.samples import Sample, made_samples, read_samples
from stepguard.taxonomy import Verdict
from tests.conftest import shared_path
from tests.front.window_model import WindowModel, steps_of

PROFILE = "An assistant that reads mail and files for its user."
MOST = 600  # a longer step may be read in windows of its own, which is another matter
FILES = ("toolemu", "tracesafe", "atbench_dev", "agentdyn")


def real_text() -> list[Sample]:
    files = [shared_path("data", f"{name}.jsonl.gz") for name in FILES]
    return read_samples(files, 600)


def lead(
    guard: Guard, samples: Sequence[Sample], tokens: int, again: int
) -> tuple[WindowModel, list[Verdict]]:
    """A session of so many tokens in steps of at most MOST, compared at every verdict.

    Every `again`th verdict, and each after the window moved, is given again by a fresh read of
    nothing but the steps in view.
    """
    reader = guard._reader
    steps = [step for sample in samples for step in sample.trajectory.steps]
    steps = steps_of(steps, reader.encoder, tokens, MOST)
    model = WindowModel(reader.encoder, reader.context, PROFILE)
    verdicts: list[Verdict] = []
    moves = questions = 0
    before, pages = guard.stats()["tokens"], 0.0
    fresh = 0.0
    with guard.session(PROFILE, window="window") as session:
        for step in steps:
            verdict = session.follow(step)
            model.say(step)
            pages = max(pages, guard.stats()["pages_used"])
            if verdict is None:
                continue
            verdicts.append(verdict)
            questions += model.question
            same(verdict, model)
            assert sum(verdict.tokens_read for verdict in verdicts) == model.read + questions
            if model.moves > moves or len(verdicts) % again == 0:
                moves = model.moves
                fresh -= guard.stats()["tokens"]
                assert guard.moderate(Trajectory(PROFILE, model.steps))[-1].margin == verdict.margin
                fresh += guard.stats()["tokens"]
    cheap(model, verdicts, questions)
    assert guard.stats()["tokens"] - before - fresh == model.read + questions
    assert pages * 32 < 3 * reader.context
    return model, verdicts


def same(verdict: Verdict, model: WindowModel) -> None:
    assert verdict.reason is None, verdict.message
    assert verdict.step == len(model.said) - 1
    assert verdict.left_out == model.left_out
    assert verdict.coverage == model.coverage


def cheap(model: WindowModel, verdicts: Sequence[Verdict], questions: int) -> None:
    """Each move reads half of the room again, and more than the other half came since the last one,
    the step that moved the window counted on both sides. Where a border moved, a token may differ.
    """
    text = model.begin + model.lost + sum(place.tokens for place in model.view)
    cost = sum(verdict.tokens_read for verdict in verdicts)
    half = model.room // 2
    assert model.moves * (half - MOST) <= text
    assert cost - questions <= text + model.moves * (half + 64)
    steps = len(model.said)
    print(
        f"\n{text:,} tokens in {steps:,} steps, {len(verdicts):,} verdicts, {model.moves} moves of "
        f"a window of {model.room:,}: {text / steps:.1f} tokens a step, {cost / steps:.1f} read a "
        f"step ({(cost - questions) / text:.3f} times the text, and {questions / steps:.1f} of "
        f"questions); coverage at the end {verdicts[-1].coverage:.5f}"
    )


def test_nine_thousand_tokens(small_guards: dict[str, Path]) -> None:
    with Guard.load(small_guards["attention"], memory=64 << 20, save_prefix=False) as guard:
        model, verdicts = lead(guard, made_samples(20), 9_000, again=40)
    assert model.moves >= 2
    assert verdicts[0].coverage == 1.0 > verdicts[-1].coverage


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["attention", "hybrid"])
def test_sixty_thousand_tokens(small_guards: dict[str, Path], kind: str) -> None:
    with Guard.load(small_guards[kind], memory=64 << 20, save_prefix=False) as guard:
        model, verdicts = lead(guard, real_text(), 60_000, again=40)
    assert model.moves >= 60_000 // 4096
    assert verdicts[-1].coverage < 0.1


@pytest.mark.slow
def test_a_long_session_on_real_weights(smol_model: Callable[[str], Path]) -> None:
    with Guard.load(smol_model("int8"), memory=256 << 20, save_prefix=False) as guard:
        # Room for a fresh read beside the session, which so has to give nothing up.
        guard._reader = dataclasses.replace(guard._reader, context=3000)
        model, verdicts = lead(guard, real_text(), 15_000, again=1000)
        print(f"{guard.stats()['tokens'] / guard.stats()['busy_seconds']:.0f} tokens a second")
    assert model.moves >= 5
    assert verdicts[-1].coverage < 0.2
