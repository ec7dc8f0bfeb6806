"""A model directory that is wrong, or becomes so: refused by name, and the process goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stepguard import Guard, Reason, Step
from stepguard.export import export_model
from tests.export.tiny import make_checkpoint
from tests.front.bad_cases import CASES, CHANGES, MEMORY, sign
from tests.front.refused import python


@pytest.fixture(scope="module")
def found(
    small_guards: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What became of every case, all of them in one process that lived to the end."""
    work = tmp_path_factory.mktemp("bad")
    words = ("-m", "tests.front.bad_cases", small_guards["attention"], work)
    lines = python(*words, XDG_CACHE_HOME=str(work / "cache")).splitlines()
    reports = [json.loads(line) for line in lines]
    return {report["case"]: report for report in reports if "case" in report}


@pytest.mark.parametrize("name", CASES)
def test_a_model_directory_that_is_wrong(found: dict[str, dict[str, Any]], name: str) -> None:
    report, (_, kind, text) = found[name], CASES[name]
    assert report["kind"] == kind
    assert text in report["text"]
    for part in ("where", "expected", "got", "fix"):
        assert report[part], part


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_changes_after_it_was_loaded(
    found: dict[str, dict[str, Any]], name: str
) -> None:
    report = found[name]
    assert report["kind"] == "verdict"
    assert report["before"] == "None"  # it did answer
    assert report["reason"] == "internal"
    file = name.split()[-1]
    message = report["message"]
    assert f"{file} changed after it was loaded: expected the same file of" in message
    for part in ("bytes, got ", "Load the guard again"):
        assert part in message


def test_the_process_goes_on(found: dict[str, dict[str, Any]]) -> None:
    assert found["the good one"]["reason"] == "None"
    assert len(found) == len(CASES) + len(CHANGES) + 1


def test_a_number_that_is_none_in_one_row(tmp_path: Path) -> None:
    """Only who reads it gets no answer; what was read without it still counts."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "llama", 3, max_position_embeddings=2048)
    model = tmp_path / "model"
    export_model(checkpoint, model, quant="float32", template="short")
    with Guard.load(model, memory=MEMORY, save_prefix=False) as guard:
        encoder = guard._reader.encoder
        plain, bad = Step.agent("", "call()"), Step.agent("", "call(~ some more words)")
        begin = encoder.begin("").border
        harmless = {*encoder.prefix_ids, *encoder.extend(begin, plain).ids}
        (row, *_) = set(map(int, encoder.extend(begin, bad).ids)) - set(map(int, harmless))
    spoil(model, row)
    with Guard.load(model, memory=MEMORY, save_prefix=False) as guard, guard.session() as session:
        expected = session.push(plain).margin
        for _ in range(2):
            verdict = session.check(bad)
            assert verdict.reason is Reason.NUMERIC
            assert not verdict.allowed
            session.reject(verdict)
        assert session.judge().margin == expected
        assert session.push(bad).reason is Reason.NUMERIC
        assert session.push(plain).reason is Reason.NUMERIC  # it is part of the trajectory now
        assert guard.session().push(plain).margin == expected


def spoil(model: Path, row: int) -> None:
    graph = onnx.load(model / "model.onnx", load_external_data=False)
    table = next(t for t in graph.graph.initializer if t.name == "embedding.table")
    place = {entry.key: entry.value for entry in table.external_data}
    width = int(table.dims[1])
    with (model / place["location"]).open("r+b") as file:
        file.seek(int(place["offset"]) + row * width * 4)
        file.write(np.full(width, np.nan, np.float32).tobytes())
    sign(model)
