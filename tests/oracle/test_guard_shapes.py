"""A guard's whole shape with random weights against transformers, on real trajectories.

Every parameter is random, norms, biases and decays too: nothing at its place by default would pass.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("transformers.models.qwen3_5")

from stepguard.bench.opened import Opened, opened  # noqa: E402
from stepguard.bench.shapes import find_shape  # noqa: E402
from stepguard.errors import StepguardError  # noqa: E402
from stepguard.export import export_model  # noqa: E402
from tests.conftest import shared_path  # noqa: E402
from tests.export.tiny import randomise  # noqa: E402
from tests.oracle.hybrid_faults import hybrid_faults  # noqa: E402
from tests.oracle.test_smollm2 import (  # noqa: E402
    SOURCES,
    TOLERANCE,
    compared,
    ours,
    texts,
    theirs,
)

pytestmark = pytest.mark.slow

NAME = "qwen3.5-0.8b"
CUT = 400  # tokens of a trajectory and its question
FAULTY_CUT = 150  # the same, where a dozen models read it
PLAIN_SIGHT = 100 * TOLERANCE  # a fault must move some label logit by more than this
DISK = 6e9  # bytes of the checkpoint and of its float32 export, and room to write


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of the shape in bfloat16, as guards are published: 1.5 GB while it is used."""
    shape, folder = find_shape(NAME), tmp_path_factory.mktemp("shape") / "checkpoint"
    shared_path("data", f"{SOURCES[0]}.jsonl.gz")
    if shutil.disk_usage(folder.parent).free < DISK:
        pytest.skip(f"{DISK / 1e9:.0f} GB of disk are not free")
    try:
        vocabulary = shape.vocabulary()
    except StepguardError as error:
        pytest.skip(str(error))
    torch.set_num_threads(2)
    config = transformers.AutoConfig.for_model(**shape.text)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, seed=0)
    model.to(torch.bfloat16).save_pretrained(folder)
    vocabulary.write(folder)
    del model
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def guards(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Opened]]:
    """The float32 export on float32 pages and on half precision pages, which share its file."""
    folder = tmp_path_factory.mktemp("shape") / "float32"
    export_model(checkpoint, folder, quant="float32", template="short")
    with opened(folder, threads=2) as fp32, opened(folder, kv="fp16", threads=2) as fp16:
        yield {"fp32": fp32, "fp16": fp16}
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def test_label_logits_are_those_of_transformers(reference: Any, guards: dict[str, Opened]) -> None:
    decays = decays_of(reference)
    assert decays.min() < 0.05
    assert decays.max() > 0.99
    errors = compared(reference, guards, count=2, cut=CUT)
    assert max(errors["fp32"]) < TOLERANCE


def test_every_planted_fault_is_seen(reference: Any, guards: dict[str, Opened]) -> None:
    guard, table = guards["fp32"], reference.model.embed_tokens.weight
    ((_, ids),) = texts(guard, count=1, cut=FAULTY_CUT)
    logits = ours(guard, ids)
    assert abs(theirs(reference, guard, ids) - logits).max() < TOLERANCE
    names = []
    for name, plant in hybrid_faults(reference.model):
        broken = deepcopy(reference, {id(table): table})  # a gigabyte that no fault changes
        with torch.no_grad():
            plant(broken.model)
        moved = abs(theirs(broken, guard, ids) - logits).max()
        print(f"{name:<40} {moved:9.2e}", flush=True)
        assert moved > PLAIN_SIGHT, name
        names.append(name)
        del broken  # before the next copy is made
    assert len(names) >= 10


def decays_of(reference: Any) -> Any:
    """The decay per token of every head, where its input is zero."""
    deltas = [m for m in reference.modules() if hasattr(m, "A_log")]
    softplus = torch.nn.functional.softplus
    with torch.no_grad():
        return torch.cat([torch.exp(-m.A_log.exp() * softplus(m.dt_bias)) for m in deltas])
