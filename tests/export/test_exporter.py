"""The whole export: bytes that do not change, places that are respected, prompts, memory, reads."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest

from stepguard.errors import ExportError, ModelFormatError, PromptError
from stepguard.export import check_arena_order, export_model, progress_bar
from stepguard.manifest import load
from stepguard.prompt import Prompt
from tests.conftest import shared_path
from tests.export.gguf_files import write_gguf
from tests.export.test_tokenizers import smollm
from tests.export.tiny import make_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("tiny") / "guard", "llama", 1)


def test_the_same_input_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_model(folder, tmp_path / name, quant="int4")
    for file in sorted(path.name for path in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_manifest_describes_the_files(folder: Path, tmp_path: Path) -> None:
    (folder / "LICENSE").write_text("text")
    manifest = export_model(folder, tmp_path / "o", quant="int8")
    assert load(tmp_path / "o") == manifest
    names = {path.name for path in (tmp_path / "o").iterdir()} - {"manifest.json"}
    assert (
        names == {"model.onnx", "weights.bin", "tokenizer.json", "LICENSE"} == set(manifest.files)
    )
    for name, entry in manifest.files.items():
        data = (tmp_path / "o" / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.bytes, entry.sha256)
    assert manifest.quantisation.kv == "fp16"
    assert (manifest.licence.name, manifest.licence.files) == ("not stated", ("LICENSE",))
    assert Prompt.from_manifest(dict(manifest.prompt)).name == "short"


def test_the_graph(folder: Path, tmp_path: Path) -> None:
    export_model(folder, tmp_path / "o")
    model = onnx.load(str(tmp_path / "o" / "model.onnx"), load_external_data=False)
    check_arena_order(model)
    assert model.ir_version == 10
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 21), ("stepguard", 1)}
    assert [i.name for i in model.graph.input] == [
        "ids", "segments", "pages", "reads", "read_offsets", "read_ids", "kv_half", "kv.0", "kv.1",
    ]  # fmt: skip
    assert [o.name for o in model.graph.output] == ["logits", "hidden"]
    others = [(n.op_type, n.input[1]) for n in model.graph.node if n.domain != "stepguard"]
    assert others == [("Gather", "reads")]
    for tensor in model.graph.initializer:
        places = {entry.key: entry.value for entry in tensor.external_data}
        assert places["location"] == "weights.bin"
        assert int(places["offset"]) % 64 == 0


def test_what_is_read_is_never_overwritten(tmp_path: Path) -> None:
    """`stepguard export CHECKPOINT CHECKPOINT --force` would leave nothing to export again."""
    folder = make_checkpoint(tmp_path / "c", "llama", 1)
    export_model(folder, tmp_path / "model", quant="int8")
    inside = shutil.copytree(folder, tmp_path / "model" / "checkpoint")
    for checkpoint, out in ((folder, folder), (inside, tmp_path / "model"), (folder, tmp_path)):
        with pytest.raises(ExportError, match="a folder apart from what is read"):
            export_model(checkpoint, out, overwrite=True)
    for adapter in (tmp_path / "model", tmp_path / "model" / "lora"):
        with pytest.raises(ExportError, match="a folder apart from what is read"):
            export_model(folder, tmp_path / "model", adapter=adapter, overwrite=True)
    assert (inside / "model.safetensors").is_file()
    assert (folder / "model.safetensors").is_file()
    assert (tmp_path / "model" / "manifest.json").is_file()


def test_a_stale_place_is_respected(folder: Path, tmp_path: Path) -> None:
    export_model(folder, tmp_path / "o", quant="int8")
    with pytest.raises(ExportError, match="--overwrite"):
        export_model(folder, tmp_path / "o")
    manifest = export_model(folder, tmp_path / "o", quant="int4", overwrite=True)
    assert load(tmp_path / "o") == manifest
    assert list(tmp_path.iterdir()) == [tmp_path / "o"]


def test_an_interrupt_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []

    def interrupt(*call: Any) -> None:
        calls.append(call)
        if len(calls) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_model(folder, tmp_path / "o", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_reaches_its_end(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    export_model(folder, tmp_path / "o", progress=lambda *call: calls.append(call))
    assert all(a[1] <= b[1] for a, b in pairwise(calls))
    assert calls[-1][1] == calls[-1][2]
    assert any("layer1.mlp.down" in call[0] for call in calls)


def test_a_damaged_checkpoint_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    copy = make_checkpoint(tmp_path / "c", "llama", 1)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-4:] = b"\x00\x00\xc0\x7f"  # a NaN in the last weight
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(ExportError, match="expected finite weights"):
        export_model(copy, tmp_path / "o")
    (copy / "model.safetensors").write_bytes(data[:-8])
    with pytest.raises(ModelFormatError, match="truncated"):
        export_model(copy, tmp_path / "o")
    assert list(tmp_path.iterdir()) == [copy]


def test_unknown_quantisations(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="auto, float32, int8, int4, got 'int2'"):
        export_model(folder, tmp_path / "o", quant="int2")


@pytest.mark.parametrize("package", ["onnx", "jinja2"])
def test_missing_packages(
    folder: Path, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def absent(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ExportError, match=rf"{package}.*pip install 'stepguard\[export\]'"):
        export_model(folder, tmp_path / "o")


def test_a_recognised_guard_needs_its_prompt(tmp_path: Path) -> None:
    guard = make_checkpoint(tmp_path / "AgentDoG-Qwen3-4B", "qwen3", 1)
    with pytest.raises(PromptError, match=r"trajectory_binary.txt \(sha256 3a8be85d"):
        export_model(guard, tmp_path / "o")
    short = export_model(guard, tmp_path / "o", template="short")
    assert not short.prompt["official"]
    file = shared_path("agentdog", "prompts", "v1.0", "trajectory_binary.txt")
    official = export_model(guard, tmp_path / "o", prompt=file, overwrite=True)
    assert official.prompt["official"]
    assert official.prompt["name"] == "v1.0/trajectory_binary"


def test_a_name_in_the_config_is_recognised(tmp_path: Path) -> None:
    guard = make_checkpoint(tmp_path / "mine", "qwen3", 1)
    config = json.loads((guard / "config.json").read_text())
    config["_name_or_path"] = "AI45Research/AgentDoG-Qwen3-4B"
    (guard / "config.json").write_text(json.dumps(config))
    with pytest.raises(PromptError, match="AgentDoG checkpoint"):
        export_model(guard, tmp_path / "o")


@pytest.mark.parametrize(
    ("prompt", "template"), [("x", "short"), (None, "long"), ("/absent/file", None)]
)
def test_wrong_prompts(
    folder: Path, tmp_path: Path, prompt: str | None, template: str | None
) -> None:
    with pytest.raises(PromptError):
        export_model(folder, tmp_path / "o", prompt=prompt, template=template)


MEASURE = r"""
import re, sys
from pathlib import Path
from stepguard.export import export_model
export_model(sys.argv[1], sys.argv[2], quant=sys.argv[3])
loaded = {"torch", "transformers", "safetensors"} & set(sys.modules)
# Not getrusage: its peak counts what the parent held before exec.
peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
print(int(peak[1]) // 1024, *sorted(loaded))
"""


@pytest.mark.parametrize("quant", ["float32", "int4"])
def test_smollm2_needs_little_memory(tmp_path: Path, quant: str) -> None:
    command = [sys.executable, "-c", MEASURE, str(smollm()), str(tmp_path / "o"), quant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes, *loaded = done.stdout.split()
    assert loaded == []
    assert int(megabytes) < 250  # the float32 model has 538 MB, its largest matrix 113 MB
    size = load(tmp_path / "o").files["weights.bin"].bytes
    assert size == {"float32": 538_069_440, "int4": 89_950_656}[quant]


@pytest.mark.parametrize("form", ["safetensors", "gguf"])
def test_weights_are_read_and_never_mapped(folder: Path, tmp_path: Path, form: str) -> None:
    checkpoint = folder if form == "safetensors" else write_gguf(tmp_path / "a.gguf", folder)
    weights = str(folder / "model.safetensors" if form == "safetensors" else checkpoint)
    held, mapped = set(), set()

    def look(*_: object) -> None:
        held.update(os.path.realpath(link) for link in Path("/proc/self/fd").iterdir())
        mapped.update(Path("/proc/self/maps").read_text().split())

    export_model(checkpoint, tmp_path / "o", quant="int8", progress=look)
    assert weights in held
    assert weights not in mapped


def test_the_progress_bar_is_silent_without_a_terminal(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress_bar() as report:
        export_model(folder, tmp_path / "o", progress=report)
    assert capfd.readouterr().out == ""
