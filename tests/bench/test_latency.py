"""One set of weights, several engines: compared before they are timed."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.bench.arguments import parse_counts, parse_peers, parse_question
from stepguard.bench.latency import Case, gguf_file, measure
from stepguard.bench.latency.grid import (
    grid_store,
    write_hugging_face,
    write_llama_cpp,
    write_ours,
)
from stepguard.bench.latency.measure import check
from stepguard.bench.latency.peer import Ids, Logits
from stepguard.bench.latency.remote import MissingPeer, Remote
from stepguard.bench.latency.report import latency_table, plot_latency
from stepguard.bench.machine import Setup, describe_machine
from stepguard.bench.shapes import GUARDS, GuardShape
from stepguard.bench.shapes.weights import Rounded
from stepguard.cli import main
from stepguard.errors import StepguardError
from stepguard.export import export_model
from stepguard.runtime import Engine, Segment
from tests.bench.conftest import SMALL
from tests.export.gguf_files import write_tokenizer

ROWS = np.arange(0, 400, 3, dtype=np.int32)
TEXT = np.arange(5, 65, dtype=np.int32)
QUESTION = np.array([7, 8, 9], np.int32)


class FakeEngine:
    """Answers with given logits, after a given time."""

    def __init__(self, name: str, ms: float, logits: Logits) -> None:
        self.name, self.ms, self.logits = name, ms, logits
        self.calls: list[tuple[str, int]] = []

    def read(self, ids: Ids) -> None:
        self.calls.append(("read", len(ids)))

    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]:
        self.calls.append(("step", len(ids)))
        return self.ms + len(ids), self.logits

    def again(self, ids: Ids) -> tuple[float, Logits]:
        self.calls.append(("again", len(ids)))
        return 10 * self.ms, self.logits


def measured(*engines: FakeEngine, **more: Any) -> list[Case]:
    settings: dict[str, Any] = {"context": 32, "new": [4, 8], "prefill": [16], "repeats": 3, **more}
    return measure(engines, TEXT, QUESTION, **settings)


def logits(seed: int) -> Logits:
    return np.random.default_rng(seed).standard_normal(50).astype(np.float32)


def test_every_engine_does_the_same_in_turns() -> None:
    ours = FakeEngine("stepguard", 1, logits(0))
    slow, fast = FakeEngine("genai", 6, logits(0)), FakeEngine("llama.cpp", 3, logits(0))
    seen: list[tuple[int, int]] = []
    cases = measured(ours, slow, fast, usual=1, progress=lambda *now: seen.append(now))
    names = ["step 4", "step 8", "step 4, read again", "step 8, read again", "prefill 16"]
    assert [case.name for case in cases] == names
    assert seen == [(done, 14) for done in range(1, 15)]
    assert slow.calls == fast.calls
    assert ours.calls[0] == slow.calls[0] == ("read", 32)
    # One run to warm up, then three.
    assert slow.calls.count(("step", 4)) == slow.calls.count(("again", 16)) == 4
    assert slow.calls.count(("again", 32 + 4 + 3)) == slow.calls.count(("again", 32 + 8 + 3)) == 1
    assert ours.calls.count(("step", 4)) == 5
    first = cases[0].to_dict()
    assert first["ours_ms"] == 5
    assert first["peers"] == {"genai": 10, "llama.cpp": 7}
    assert first["best_peer"] == "llama.cpp"
    assert first["ratio"] == pytest.approx(7 / 5)
    assert cases[2].to_dict()["ratio"] == pytest.approx(30 / 5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_so_many_samples_of_reading_again(count: int) -> None:
    """All of them count, the one that is compared, too; and it is the last that peers are asked."""
    ours, peer = FakeEngine("stepguard", 1, logits(0)), FakeEngine("genai", 6, logits(0))
    cases = [case for case in measured(ours, peer, usual=count, prefill=[]) if case.usual]
    assert [case.tokens for case in cases] == [4, 8]
    for case in cases:
        assert {name: len(times) for name, times in case.times.items()} == {
            "stepguard": count,
            "genai": count,
        }
        assert len(case.ratios) == count
        assert case.cosines["genai"] == pytest.approx(1.0)
    assert [call[0] for call in peer.calls[-2 * count :]] == ["again"] * (2 * count)
    assert len([call for call in peer.calls if call[0] == "again"]) == 2 * count
    ranges = latency_table(cases, "some").columns[1]._cells
    assert all(("to" in str(cell)) == (count > 1) for cell in ranges)


def test_nobody_reads_again() -> None:
    cases = measured(FakeEngine("stepguard", 1, logits(0)), usual=3)
    assert [case.name for case in cases] == ["step 4", "step 8", "prefill 16"]


def test_a_picture(tmp_path: Path) -> None:
    cases = measured(FakeEngine("stepguard", 1, logits(0)), FakeEngine("genai", 6, logits(0)))
    for name in ("a.png", "a.svg"):
        plot_latency(
            cases,
            describe_machine(Setup("1.0", "avx2", 2, "fp16", "int8")),
            "a shape",
            tmp_path / name,
        )
        assert (tmp_path / name).stat().st_size > 5_000


def test_no_time_for_engines_that_compute_something_else() -> None:
    with pytest.raises(StepguardError, match=r"step 4: genai: .*cosine"):
        measured(FakeEngine("stepguard", 1, logits(0)), FakeEngine("genai", 1, logits(1)))
    near = logits(0)
    near[int(near.argmax())] = np.sort(near)[-2] - 0.001  # hardly turned, but another best row
    assert check("step", "genai", logits(0), logits(0)) == pytest.approx(1.0)
    with pytest.raises(StepguardError, match="best row"):
        check("step", "genai", np.array([9, 1, 0.0] * 99 + [9.5]), np.array([9.0, 1, 0] * 99 + [9]))


def test_arguments() -> None:
    assert parse_counts("16,64") == [16, 64]
    names = ("24", "binary", "unified", "coarse")
    assert [parse_question(name) for name in names] == [24, 26, 19, 277]
    assert parse_question("5") == 5
    assert parse_peers("none") == []
    assert parse_peers("genai,llama.cpp") == ["genai", "llama.cpp"]
    assert parse_peers("genai, llama.cpp") == ["genai", "llama.cpp"]
    for wrong in ("0", "x"):
        with pytest.raises(ArgumentTypeError, match="from 1 up, or one of unified, binary, coarse"):
            parse_question(wrong)
    with pytest.raises(Exception, match="expected names out of genai, "):
        parse_peers("vllm")


@pytest.mark.parametrize("name", SMALL)
def test_weights_lie_on_one_grid(small: dict[str, GuardShape], name: str, tmp_path: Path) -> None:
    """bfloat16 holds them exactly, and a quantiser that knows nothing of it finds them again."""
    gguf = pytest.importorskip("gguf")
    store = grid_store(small[name], tmp_path, 0)
    rounded, q4 = Rounded(store), gguf.GGMLQuantizationType.Q4_0
    matrices = [n for n, info in store.tensors.items() if info.kind == "Q4_0"]
    assert len(matrices) > 10
    for matrix in matrices:
        count = store.tensors[matrix].shape[0]
        plain = store.rows(matrix, 0, count)
        assert np.array_equal(rounded.rows(matrix, 0, count), plain)
        again = gguf.quants.dequantize(gguf.quants.quantize(plain, q4), q4)
        assert np.array_equal(again, plain)


def answer(folder: Path) -> Logits:
    engine = Engine(folder, threads=1, memory=32 << 20, activations="fp32", kv="fp32")
    result = engine.submit([Segment(TEXT, engine.root, read=ROWS)]).wait(60)[0]
    engine.close()
    assert result.reason == "", result.message
    return result.logits


@pytest.mark.parametrize("name", SMALL)
def test_all_files_hold_the_same_model(
    small: dict[str, GuardShape], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file for llama.cpp and the folder for transformers, read by the exporter."""
    shape = small[name]
    write_ours(shape, tmp_path / "ours", 0, None)
    write_hugging_face(shape, tmp_path / "folder", 0, None)
    expected = answer(tmp_path / "ours")
    assert np.abs(expected).max() > 0.1
    export_model(tmp_path / "folder", tmp_path / "one", quant="float32", template="short")
    np.testing.assert_allclose(answer(tmp_path / "one"), expected, atol=1e-5)
    # Engines need no vocabulary to be timed; the exporter does.
    metadata = gguf_file._metadata
    monkeypatch.setattr(gguf_file, "_metadata", with_tokenizer(metadata, tmp_path / "folder"))
    write_llama_cpp(shape, tmp_path / "file.gguf", 0, None)
    export_model(tmp_path / "file.gguf", tmp_path / "two", quant="int4", template="short")
    np.testing.assert_allclose(answer(tmp_path / "two"), expected, atol=1e-5)


def with_tokenizer(metadata: Callable[..., None], folder: Path) -> Callable[..., None]:
    def written(writer: Any, shape: GuardShape) -> None:
        (folder / "config.json").write_text(json.dumps(shape.text))
        write_tokenizer(writer, folder, "qwen35" if shape.sees else "qwen2")
        monkey = writer.add_tokenizer_model
        writer.add_tokenizer_model = lambda name: None
        metadata(writer, shape)
        writer.add_tokenizer_model = monkey

    return written


def test_ours_tells_where_its_time_goes(small: dict[str, GuardShape], tmp_path: Path) -> None:
    write_ours(small["qwen3.5-4b"], tmp_path / "m", 0, None)
    tokenizer = tmp_path / "m" / "tokenizer.json"
    options = {"memory": 64 << 20}
    with Remote(
        "stepguard", tmp_path / "m", ROWS, threads=1, room=99, options=options, tokenizer=tokenizer
    ) as ours:
        ours.read(TEXT[:32])
        spent = ours.profile(TEXT[32:40], QUESTION)
        now, most = ours.resident()
    names = {"Embed", "RmsNorm", "Linear", "Attention", "DeltaNet", "ReadOut", "all"}
    assert set(spent) == names
    assert sum(ms for name, ms in spent.items() if name != "all") <= spent["all"]
    assert min(spent.values()) > 0
    assert 10_000_000 < now <= most
    case = Case("step 8", 8, {"stepguard": [4.0]}, floor={"Linear": 1.0, "Attention": 1.0})
    assert (case.floor_ms, case.share) == (2.0, 0.5)


def test_prefill_alone(
    small: dict[str, GuardShape],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(GUARDS, "tiny", small["qwen3.5-4b"])
    words = ["bench", "prefill", "--shape", "tiny", "--tokens", "8,20", "--repeats", "1"]
    words += ["--peers", "none", "--threads", "1", "--json", str(tmp_path / "j.json")]
    assert main([*words, "--work", str(tmp_path / "w")]) == 0
    report = json.loads((tmp_path / "j.json").read_text())
    assert report["benchmark"] == "prefill"
    assert report["settings"]["prefill"] == [8, 20]
    assert [case["name"] for case in report["cases"]] == ["prefill 8", "prefill 20"]
    for case in report["cases"]:
        assert (case["peers"], case["best_peer"], case["ratio"]) == ({}, None, None)
    out = capsys.readouterr().out
    assert "read from nothing" in out
    assert "operation by operation" not in out


def test_an_engine_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not in the process that it would run in, whatever is installed here."""
    gone = "raise ModuleNotFoundError('No module named onnxruntime_genai')"
    (tmp_path / "onnxruntime_genai.py").write_text(gone)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    with pytest.raises(MissingPeer, match="ModuleNotFoundError"):
        Remote("genai", Path("x"), ROWS, threads=1, room=64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3.5-4b", "llama3.1-8b"])
def test_the_command(
    small: dict[str, GuardShape],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """transformers is there wherever tests run; the other engines say that they are not."""
    monkeypatch.setitem(GUARDS, name, small[name])
    words = ["bench", "latency", "--shape", name, "--new", "4,8", "--context", "40"]
    words += ["--prefill", "16", "--repeats", "2", "--usual", "2", "--threads", "1"]
    words += ["--work", str(tmp_path / "w"), "--json", str(tmp_path / "j.json")]
    words += ["--plot", str(tmp_path / "p.png")]
    assert main(words) == 0
    report = json.loads((tmp_path / "j.json").read_text())
    assert "transformers" in report["versions"]
    assert set(report["versions"]) | set(report["missing"]) == {
        "stepguard",
        "genai",
        "llama.cpp",
        "transformers",
        "openvino",
    }
    assert len(report["cases"]) == 5
    for case in report["cases"]:
        assert len(case["times_ms"]["transformers"]) == 2
    for case in report["cases"]:
        assert case["cosines"]["transformers"] > 0.999
        assert case["ratio"] > 0
    assert (tmp_path / "p.png").stat().st_size > 1000
    out = capfd.readouterr()
    assert "best peer" in out.out
    assert "operation by operation" in out.out
    assert "resident MB" in out.out
    for name in report["missing"]:
        assert f"not measured: {name}" in out.out
