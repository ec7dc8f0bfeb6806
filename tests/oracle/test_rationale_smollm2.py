"""What a guard writes is what transformers' greedy `generate` writes, on real trajectories.

Both load the same GGUF file; the prompt is an official one. Where the two best tokens lie closer
than the arithmetic of two programs can tell, the comparison stops and says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from stepguard.bench.fidelity import questions  # noqa: E402
from stepguard.bench.opened import Opened, opened  # noqa: E402
from stepguard.bench.samples import Sample, read_samples  # noqa: E402
from stepguard.export import export_model  # noqa: E402
from stepguard.runtime import Segment  # noqa: E402
from stepguard.writing import Writing  # noqa: E402
from tests.conftest import shared_path  # noqa: E402
from tests.oracle.test_smollm2 import SOURCES, gguf, reference  # noqa: E402

__all__ = ["gguf", "reference"]  # fixtures

Ids = npt.NDArray[np.int32]
LENGTH = 200
TIE, CUT = 1e-3, 200


@pytest.fixture(params=["float32"])
def guard(
    gguf: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Any:
    folder = tmp_path_factory.mktemp("rationale") / request.param
    prompt = shared_path("agentdog", "prompts", "v1.0", "trajectory_binary.txt")
    export_model(gguf, folder, quant=request.param, prompt=prompt, mode="rationale")
    with opened(folder, threads=2) as guard:
        yield guard


def written(guard: Opened, paths: list[Ids]) -> list[list[int]]:
    """LENGTH tokens behind every path, all of them in the same forwards."""
    reader = guard.reader
    assert reader.written is not None
    rows = reader.judge.rows
    segments = [Segment(ids, reader.engine.root, True, read=rows, next=True) for ids in paths]
    results = reader.run(segments)
    writings = [Writing.of(result, rows, frozenset(), LENGTH) for result in results]
    reader.written.scribe.write(writings)
    assert all(writing.reason == "no_verdict" for writing in writings)
    return [writing.ids for writing in writings]


def generated(reference: Any, ids: Ids) -> tuple[list[int], list[float]]:
    """What `generate` writes, and by how much each token was the best."""
    prompt = torch.tensor(ids[None].astype(np.int64))
    out = reference.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=LENGTH,
        output_logits=True, return_dict_in_generate=True, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return out.sequences[0, len(ids) :].tolist(), gaps(torch.cat(out.logits))


def followed(reference: Any, ids: Ids, ours: list[int]) -> tuple[list[int], list[float]]:
    """The same in one pass over our own tokens: the best one at each place is what `generate`
    would write there, as long as all before it are the same.
    """
    path = torch.tensor([[*map(int, ids), *ours[:-1]]])
    with torch.no_grad():
        logits = reference(path, logits_to_keep=LENGTH).logits[0]
    return logits.argmax(dim=-1).tolist(), gaps(logits)


def gaps(logits: Any) -> list[float]:
    top = torch.topk(logits.double(), 2).values
    return (top[:, 0] - top[:, 1]).tolist()


def paths_of(guard: Opened, count: int) -> tuple[list[Sample], list[Ids]]:
    """Trajectories of all sources, and their ids up to where the answer begins."""
    files = [shared_path("data", f"{source}.jsonl.gz") for source in SOURCES]
    encoder = guard.reader.encoder
    samples = list(read_samples(files, count))
    asks = [questions(encoder, sample.trajectory, CUT)[-1] for sample in samples]
    parts = [(encoder.prefix_ids, ask.track.after(0), ask.question) for ask in asks]
    return samples, [np.concatenate(path) for path in parts]


@pytest.mark.slow
def test_twenty_trajectories(reference: Any, guard: Opened) -> None:
    """200 tokens each, up to the first near-tie; one of them by `generate` itself."""
    samples, paths = paths_of(guard, 20)
    answers, total = written(guard, paths), 0
    for place, (sample, ids, ours) in enumerate(zip(samples, paths, answers, strict=True)):
        first = generated(reference, ids) if place == 0 else followed(reference, ids, ours)
        theirs, margins = first
        same = next((i for i, gap in enumerate(margins) if gap < TIE), LENGTH)
        tie = "" if same == LENGTH else f"a near-tie of {margins[same]:.1e} after {same} tokens"
        print(f"{sample.name[:40]:<40} {len(ids):>6} tokens, {same:>4} the same  {tie}", flush=True)
        assert ours[:same] == theirs[:same], sample.name
        total += same
    assert total > 10 * LENGTH


@pytest.mark.slow
@pytest.mark.parametrize("guard", ["int8"], indirect=True)
def test_how_far_eight_bits_agree(reference: Any, guard: Opened) -> None:
    """What float32 would have written at each place of what an 8-bit export wrote."""
    samples, paths = paths_of(guard, 4)
    shares = []
    for sample, ids, ours in zip(samples, paths, written(guard, paths), strict=True):
        theirs, margins = followed(reference, ids, ours)
        other = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        shares.append(1 - len(other) / LENGTH)
        gap = max((margins[i] for i in other), default=0.0)
        first = f"the first at {other[0]}, " if other else ""
        print(f"{sample.name[:40]:<40} {shares[-1]:.3f} agree; {first}largest gap {gap:.3f}")
        assert gap < 1, sample.name
    assert min(shares) > 0.8
