"""Bounds that hold for guards of real size: memory of exports, and verdicts end to end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from stepguard.bench.run_export import measure_export
from stepguard.bench.shapes import GuardShape, checkpoint_bytes, find_shape
from stepguard.cli import main
from stepguard.errors import StepguardError
from tests.conftest import shared_path

pytestmark = pytest.mark.slow

LARGE = "STEPGUARD_LARGE_TESTS"
_large = pytest.mark.skipif(
    not os.environ.get(LARGE), reason=f"half an hour and 28 GB of disk: set {LARGE}=1"
)


def need(folder: Path, shape: GuardShape, free: float) -> None:
    """Skips where the vocabulary or the disk is missing."""
    try:
        shape.vocabulary()
    except StepguardError as error:
        pytest.skip(str(error))
    if shutil.disk_usage(folder).free < free:
        pytest.skip(f"{free / 1e9:.0f} GB of disk are not free")


def first_layers(name: str, count: int) -> GuardShape:
    """A shape with all of its matrices, the embedding too, and few of its layers."""
    shape = find_shape(name)
    kinds = shape.text["layer_types"][:count]
    return shape.reduced(f"{name}-{count}", num_hidden_layers=count, layer_types=kinds)


@pytest.mark.parametrize(
    ("shape", "most"),
    [
        (find_shape("qwen3.5-4b"), 2_000_000_000),
        (first_layers("qwen3.5-9b", 4), 3_000_000_000),
        pytest.param(find_shape("qwen3.5-9b"), 3_000_000_000, marks=_large),
    ],
    ids=lambda value: value.name if isinstance(value, GuardShape) else f"{value / 1e9:.0f}GB",
)
def test_an_export_needs_little_memory(shape: GuardShape, most: int, tmp_path: Path) -> None:
    """A process of its own reads the checkpoint; what its parent holds does not count."""
    need(tmp_path, shape, 1.6 * checkpoint_bytes(shape))
    size, _, model, ran = measure_export(shape, "int4", tmp_path)
    print(f"\n{shape.name}: {size / 1e9:.1f} GB, {ran.cpu_seconds:.0f} s, {ran.peak / 1e6:.0f} MB")
    assert size == checkpoint_bytes(shape) > 1.8 * most
    assert model < 0.6 * size
    assert ran.peak < most
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen3.5-0.8b"])
def test_two_trajectories_end_to_end(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shared_path("data", "openagentsafety.jsonl.gz")
    need(tmp_path, find_shape(name), 2e9)
    words = ["--shape", name, "--data", str(data), "--tokens", "700", "--work", str(tmp_path)]
    assert main(["bench", "shapes", *words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["shapes"]
    assert (row["shape"], row["trajectories"]) == (name, 2)
    assert row["verdicts"] >= 2
    assert row["unavailable"] == 0
    assert row["tokens"] > 700
    assert list(tmp_path.iterdir()) == []
