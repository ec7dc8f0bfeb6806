"""What OpenVINO gets: the grid's weights as they are, and an export that may fail, said aloud."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.bench.latency import prepare
from stepguard.bench.latency.grid import grid_store, write_hugging_face
from stepguard.bench.latency.openvino_export import MODEL, blocks_of
from stepguard.bench.latency.remote import MissingPeer, Remote
from stepguard.bench.shapes import GuardShape


def unpacked(packed: np.ndarray[Any, Any], scales: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As OpenVINO's documentation has it: int4 in two's complement, the low half first."""
    halves = np.stack([packed & 15, packed >> 4], -1).reshape(len(packed), -1).astype(np.int8)
    levels = np.where(halves > 7, halves - 16, halves).astype(np.float32)
    grid = levels.reshape(len(packed), -1, 32) * scales.astype(np.float32)
    return grid.reshape(len(packed), -1)


def test_blocks_hold_the_grid(small: dict[str, GuardShape], tmp_path: Path) -> None:
    store = grid_store(small["qwen3.5-4b"], tmp_path, 0)
    matrices = [name for name, info in store.tensors.items() if info.kind == "Q4_0"]
    for name in matrices:
        plain = store.rows(name, 0, store.tensors[name].shape[0])
        packed, scales = blocks_of(plain)
        assert packed.nbytes * 2 == plain.size
        assert np.array_equal(unpacked(packed, scales), plain)


def test_no_other_weights_are_taken() -> None:
    plain = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    with pytest.raises(ValueError, match="whole numbers"):
        blocks_of(plain)


def test_an_export_that_fails_is_said(
    small: dict[str, GuardShape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is the exporter's last line, and nothing half made stays under its name."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "broken.py").write_text("raise ValueError('transformers 5.2 only')")
    monkeypatch.setattr(prepare, "_EXPORTER", "broken")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    shape, work = small["qwen3.5-4b"], tmp_path / "work"
    work.mkdir()
    with pytest.raises(MissingPeer, match=r"transformers 5\.2 only"):
        prepare.prepare("openvino", shape, work, 0, lambda *_: None)
    assert not list(work.glob("*openvino"))


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen3.5-4b"])
def test_a_question_leaves_no_trace(
    small: dict[str, GuardShape], name: str, tmp_path: Path
) -> None:
    """The same step again gives the same, as does reading again."""
    pytest.importorskip("openvino")
    pytest.importorskip("optimum.intel")
    write_hugging_face(small[name], tmp_path / "folder", 0, None)
    prepare._export_openvino(tmp_path / "folder", tmp_path / "ir")
    assert (tmp_path / "ir" / MODEL).exists()
    ids, question = np.arange(5, 65, dtype=np.int32), np.array([7, 8, 9], np.int32)
    rows = np.arange(0, 400, 3, dtype=np.int32)
    with Remote("openvino", tmp_path / "ir", rows, threads=1, room=99) as peer:
        peer.read(ids[:32])
        _, first = peer.step(ids[32:40], question)
        _, second = peer.step(ids[32:40], question)
        _, whole = peer.again(np.concatenate([ids[:40], question]))
    assert np.array_equal(first, second)
    assert np.corrcoef(first, whole)[0, 1] > 0.999
