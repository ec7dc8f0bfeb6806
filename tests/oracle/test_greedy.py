"""Greedy writing, token by token, against transformers' `generate`, for every architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from stepguard.runtime import Engine, Segment, State  # noqa: E402
from tests.oracle.checkpoints import load_reference  # noqa: E402
from tests.oracle.comparison import ISAS, TEXT  # noqa: E402
from tests.oracle.test_every_architecture import CASES  # noqa: E402
from tests.oracle.test_hybrid import CASES as HYBRIDS  # noqa: E402

Floats = npt.NDArray[np.float32]
LENGTH = 24
TIE = 1e-3


# transformers' cache cannot generate with a model that has no attention layer at all.
assert str(HYBRIDS[0]).endswith("delta")


def written(engine: Engine, prompt: npt.NDArray[np.int32]) -> tuple[list[int], list[float]]:
    """LENGTH tokens and their log-probabilities, by a chain of segments that consume each other."""
    ids, scores = [], []
    state: State = engine.root
    tokens = prompt
    for place in range(LENGTH):
        segment = Segment(tokens, state, keep=True, consume=place > 0, next=True)
        (result,) = engine.submit([segment]).wait(60)
        assert result.reason == "", result.message
        assert result.state is not None
        state, tokens = result.state, np.array([result.next], np.int32)
        ids.append(result.next)
        scores.append(result.next_score)
    return ids, scores


def generated(reference: Any, prompt: npt.NDArray[np.int32]) -> tuple[list[int], Floats]:
    """The same by transformers, and its logits [LENGTH, vocabulary]."""
    reference.generation_config.eos_token_id = None
    ids = torch.tensor(prompt[None].astype(np.int64))
    out = reference.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=LENGTH,
        output_logits=True, return_dict_in_generate=True, pad_token_id=0,
    )  # fmt: skip
    return out.sequences[0, len(prompt) :].tolist(), torch.cat(out.logits).float().numpy()


def compare(checkpoint: Path, model: Path, isa: str) -> int:
    """How many tokens are the same, up to the first near-tie; asserts that all are."""
    prompt = TEXT[:40]
    expected, logits = generated(load_reference(checkpoint), prompt)
    engine = Engine(model, isa=isa, threads=2, kv="fp32", memory=32 << 20)
    try:
        ids, scores = written(engine, prompt)
    finally:
        engine.close()
    for place in range(LENGTH):
        second, first = np.sort(logits[place].astype(np.float64))[-2:]
        if first - second < TIE:
            return place
        assert ids[place] == expected[place], place
        row = logits[place].astype(np.float64)
        log_probability = first - (row.max() + np.log(np.exp(row - row.max()).sum()))
        assert abs(scores[place] - log_probability) < 1e-3
    return LENGTH


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", [CASES[0], CASES[4], CASES[6], HYBRIDS[2]], ids=str)
def test_greedy_is_that_of_transformers(made: Any, case: Any, isa: str) -> None:
    assert compare(*made(case), isa) == LENGTH


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", [*CASES, *HYBRIDS[1:]], ids=str)
def test_greedy_of_every_case(made: Any, case: Any, isa: str) -> None:
    assert compare(*made(case), isa) > 5
