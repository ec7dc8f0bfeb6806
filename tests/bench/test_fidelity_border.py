"""`stepguard bench fidelity` at a calibrated threshold, on as much of both classes as there is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stepguard import Guard
from stepguard.bench import read_margins, read_samples
from stepguard.bench.opened import opened
from stepguard.cli import main
from stepguard.manifest import CalibrationEntry, Promise
from stepguard.train.attach import attach
from stepguard.train.scores import guard_key


@pytest.fixture
def border(tiny_guards: dict[str, Path], data: Path) -> float:
    """The median margin of the reference: half of its verdicts are stopped there."""
    with opened(tiny_guards["float32"], threads=1) as reference:
        return float(np.median(read_margins(reference, read_samples([data], 3), 2048).margins))


@pytest.fixture
def calibrated(tiny_guards: dict[str, Path], border: float, tmp_path: Path) -> Path:
    """An int8 guard that is calibrated there."""
    folder = tmp_path / "calibrated"
    shutil.copytree(tiny_guards["int8"], folder)
    with Guard.load(folder, threads=1, save_prefix=False) as guard:
        key = guard_key(guard)
    names = ("model", "prompt", "mode", "kv", "activations")
    entry = CalibrationEntry(
        **{name: key[name] for name in names},  # type: ignore[arg-type]
        method="platt",
        scale=1.0,
        bias=-border,
        low=0.5,
        high=0.9,
        knots=(),
        promise=Promise("fpr", 0.1, "conformal", None, 2, "0" * 64),
    )
    attach(folder, entry)
    return folder


def test_verdicts_part_at_the_threshold_of_the_calibrated_guard(
    tiny_guards: dict[str, Path],
    calibrated: Path,
    border: float,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "fidelity.json"
    words = [tiny_guards["float32"], tiny_guards["int8"], calibrated, "--balance", "--json", file]
    words += ["--data", data, "--limit", 3, "--threads", 1]
    assert main(["bench", "fidelity", *map(str, words)]) == 0
    found = json.loads(file.read_text())
    assert found["threshold"]["calibration_of"] == "calibrated"
    assert found["threshold"]["margin"] == pytest.approx(border, abs=1e-5)
    assert found["settings"]["balance"] is True
    assert 0.25 <= found["threshold"]["stopped"] <= 0.75
    agreed = [one["agreement"]["agree"] for one in found["models"]]
    assert agreed[0] == agreed[1]  # one threshold for all
    assert "the calibrated threshold of calibrated" in capsys.readouterr().out
