"""The loss falls, and an export is what was trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")
from stepguard import Guard  # noqa: E402
from stepguard.errors import TrainingError  # noqa: E402
from stepguard.export import export_model  # noqa: E402
from stepguard.runtime import Segment  # noqa: E402
from stepguard.train.lora.base import open_base  # noqa: E402
from stepguard.train.lora.loop import rate_at  # noqa: E402
from stepguard.train.lora.scoring import Scorer, settings_of  # noqa: E402
from stepguard.train.lora.settings import Settings  # noqa: E402
from stepguard.train.lora.store import steps_of  # noqa: E402
from stepguard.train.records import read_records  # noqa: E402
from tests.train.lora.runs import pack  # noqa: E402
from tests.train.lora.sittings import run, same, weights  # noqa: E402

torch.set_num_threads(1)


@pytest.mark.slow
def test_the_loss_falls_and_labels_are_learned(place: Path, tmp_path: Path) -> None:
    sitting = run(place, tmp_path, dropout=0.0, epochs=15, rate=3e-3).sit(every=1000)
    assert np.mean(sitting.losses[-4:]) < 0.3 * np.mean(sitting.losses[:4])
    assert len(steps_of(tmp_path)) == 1
    base = open_base(place / "base", taxonomy="base")
    packed = pack(base, read_records([place / "data.jsonl"]))
    scorer = Scorer(base, settings_of(tmp_path))
    before = [scorer.score(one).margins for one in packed]
    scorer.take(steps_of(tmp_path)[0])
    signs = [
        (margin > 0) == question.unsafe
        for one in packed
        for margin, question in zip(scorer.score(one).margins, one.questions, strict=True)
    ]
    assert np.mean(signs) > 0.9
    assert before != [scorer.score(one).margins for one in packed]


@pytest.mark.slow
def test_bf16_layers_below_give_nearly_the_same(place: Path, tmp_path: Path) -> None:
    one = run(place, tmp_path / "fp32", dropout=0.0).sit()
    other = run(place, tmp_path / "bf16", dropout=0.0, precision="bf16").sit()
    again = run(place, tmp_path / "again", dropout=0.0, precision="bf16").sit()
    assert other.losses == again.losses
    assert other.losses != one.losses
    assert other.losses == pytest.approx(one.losses, rel=0.1)


@pytest.mark.slow
def test_another_seed_is_another_adapter(place: Path, whole: Path, tmp_path: Path) -> None:
    run(place, tmp_path, seed=1).sit()
    assert not same(tmp_path / "step-000008", whole / "step-000008")


@pytest.mark.slow
def test_all_layers_may_learn(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path, layers=3).sit()
    assert len(weights(steps_of(tmp_path)[-1])) == 3 * 2 * 7
    assert not (tmp_path / "lower").exists()
    with pytest.raises(TrainingError, match="train-layers: expected at most 3, got 4"):
        run(place, tmp_path / "more", layers=4)


def test_the_rate_rises_and_falls() -> None:
    settings = Settings(layers=1, rate=1e-3, warmup=0.1)
    rates = [rate_at(step, 100, settings) for step in range(100)]
    assert max(rates) == rates[9] == 1e-3
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-5


def test_an_export_gives_what_peft_gives(place: Path, whole: Path, tmp_path: Path) -> None:
    """The float32 export of base and adapter against transformers with PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(place / "base", dtype=torch.float32).eval()
    checkpoint = steps_of(whole)[-1]
    # A larger adapter than eight steps make: one that would show where it is not merged.
    loud = Path(shutil.copytree(checkpoint, tmp_path / "loud"))
    from safetensors.torch import save_file

    save_file({n: 3 * w for n, w in weights(loud).items()}, loud / "adapter_model.safetensors")
    export_model(
        place / "base",
        tmp_path / "model",
        quant="float32",
        template="short",
        taxonomy="base",
        adapter=loud,
    )
    base = open_base(place / "base", taxonomy="base")
    (row,) = pack(base, read_records([place / "data.jsonl"]))[1].rows
    index, question = next((i, q) for i, q in enumerate(row.questions) if q.labels)
    choices = [question.verdict, *(one for part in question.labels for one in part)]
    ids, branch = row.prefix(index), row.branches[index]
    with torch.no_grad():
        before = plain(torch.from_numpy(ids)[None]).logits[0]
        expected = PeftModel.from_pretrained(plain, loud)(torch.from_numpy(ids)[None]).logits[0]
    moved = []
    with Guard.load(tmp_path / "model", save_prefix=False, kv="fp32") as guard:
        engine = guard._reader.engine
        for choice in choices:
            at = branch.fork + choice.at - branch.begin
            wanted = list(choice.ids)
            rows = np.array(wanted, np.int32)
            text = ids[: at + 1].astype(np.int32)
            (result,) = engine.submit([Segment(text, engine.root, read=rows)]).wait()
            assert result.reason == "", result.message
            assert np.abs(result.logits - expected[at, wanted].numpy()).max() < 1e-3
            moved.append(float((expected[at, wanted] - before[at, wanted]).abs().max()))
    assert max(moved) > 0.1
