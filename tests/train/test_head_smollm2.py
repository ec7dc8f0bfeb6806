"""A head on a real model, frozen, and real trajectories."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stepguard import Guard
from stepguard.cli import main
from stepguard.heads import Head
from stepguard.manifest import load
from stepguard.train import read_records
from stepguard.train.rows import read_rows
from tests.conftest import shared_path

SOURCES = ("asse_security", "toolemu", "tracesafe")


@pytest.mark.slow
def test_a_real_model_and_real_trajectories(
    smol_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [shared_path("data", f"{name}.jsonl.gz") for name in SOURCES]
    model = Path(shutil.copytree(smol_model("int8"), tmp_path / "model"))
    kept = tmp_path / "rows.jsonl"
    words = ["head", "fit", str(model), *map(str, files), "--limit", "5", "--rows", str(kept)]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [source["name"] for source in report["sources"]] == list(SOURCES)
    assert report["unread"] == 0
    assert 0 < report["mean"]["across"]["value"] < 1
    entry = load(model).heads["verdict"]
    first = (model / entry.file).read_bytes()
    assert main(words) == 0  # from the rows that were kept, to the same bits
    assert (model / load(model).heads["verdict"].file).read_bytes() == first

    records = read_records(files, 5)[5:8]
    with Guard.load(model, save_prefix=False, mode="head") as guard:
        rows = read_rows(guard, records)
        verdicts = guard.moderate_many([record.trajectory for record in records])
    head = Head.from_bytes(first, entry, 576)
    expected = [float(value) for one in rows for value in head.outputs(one.rows)[:, 0]]
    margins = [verdict.margin for one in verdicts for verdict in one]
    assert margins == pytest.approx(expected, abs=1e-9 * np.abs(expected).max())
