"""`stepguard bench cold`: parts that belong to the whole, in processes that really are fresh."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from stepguard.bench import run_cold
from stepguard.bench.cold import ALL_PARTS, Cold, Start, drop_pages
from stepguard.bench.cold_probe import PARTS, Clock
from stepguard.bench.machine import Setup
from stepguard.bench.run_cold import step_text
from stepguard.cli import main
from stepguard.errors import StepguardError
from stepguard.manifest import load
from stepguard.prompt import Encoder, Prompt, Step, load_tokenizer


def test_parts_and_whole(
    tiny_guards: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, guard = tmp_path / "cold.json", tiny_guards["int8"]
    words = ["bench", "cold", str(guard), "--runs", "2", "--json", str(file)]
    assert main([*words, "--plot", str(tmp_path / "cold.svg")]) == 0
    assert "<svg" in (tmp_path / "cold.svg").read_text()[:1000]
    report = json.loads(file.read_text())
    (case,) = report["cases"]
    assert report["settings"]["new"] == 64
    assert report["settings"]["read"] == case["later"][0]["tokens"]
    assert case["peers"] == {}
    assert len(case["later"]) == 2
    for start in [case["first"], *case["later"]]:
        assert set(start["ms"]) == set(ALL_PARTS)
        assert set(start["cpu_ms"]) == set(PARTS)
        assert 0.3 * start["total"] < sum(start["ms"].values()) <= start["total"]
        assert start["tokens"] >= 64
    # What the first start left behind was found by the later ones.
    known = ("verification of files", "prefix restore")
    assert all(case["first"]["ms"][part] > 0 for part in known)
    assert case["ours_ms"] == sum(start["total"] for start in case["later"]) / 2
    out = capsys.readouterr().out
    for part in ALL_PARTS:
        assert part in out


def test_a_step_of_about_so_many_tokens(
    tiny_guards: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = tiny_guards["int8"]
    manifest = json.loads((guard / "manifest.json").read_text())
    encoder = Encoder(
        Prompt.from_manifest(manifest["prompt"]), load_tokenizer(guard / "tokenizer.json")
    )
    monkeypatch.setattr(run_cold, "check_length", lambda *_: None)  # this one reads few
    for wanted, most in ((64, 100), (3000, 3100)):  # more than one text has
        step = Step.environment(step_text(guard, wanted))
        assert wanted <= len(encoder.extend(encoder.begin("").border, step).ids) < most


def test_a_step_that_no_model_reads(tiny_guards: dict[str, Path]) -> None:
    """Neither far fewer tokens than asked, nor a verdict that is not there."""
    guard = tiny_guards["int8"]
    context = load(guard).architecture.context
    for wanted in (context + 1, context - 1):  # the prompt and the question need some, too
        with pytest.raises(StepguardError, match=f"at most {context:,} tokens"):
            step_text(guard, wanted)


def test_inner_time_counts_once() -> None:
    clock = Clock()
    inner = clock.watch("tokenizer", time.sleep)
    outer = clock.watch("manifest", lambda: inner(0.02) or time.sleep(0.01))
    outer()
    assert clock.ms["tokenizer"] >= 20
    assert clock.ms["manifest"] >= 10
    assert clock.cpu_ms["tokenizer"] < clock.ms["tokenizer"]
    with pytest.raises(ZeroDivisionError):
        clock.watch("manifest", lambda: inner(0.0) or 1 / 0)()
    before = clock.ms["prefix restore"]
    clock.watch("prefix restore", lambda: None)()
    assert clock.ms["prefix restore"] >= before


def test_numbers_of_several_starts() -> None:
    starts = [
        Start(total, {"tokenizer": total / 2}, {"tokenizer": total / 4, "imports": 1.0}, 70)
        for total in (8.0, 4.0, 20.0)
    ]
    cold = Cold(starts[0], starts, Setup("1", "avx2", 1, "fp16", "int8"))
    assert (cold.median(""), cold.spread("")) == (8.0, (4.0, 20.0))
    assert cold.median("tokenizer") == 4.0
    assert (cold.cpu_median("tokenizer"), cold.cpu_median("")) == (2.0, 3.0)


def test_what_cannot_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cold", str(tmp_path)]) == 1
    assert "manifest" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["bench", "cold"])
    assert stop.value.code == 2


def test_a_process_that_fails(tiny_guards: dict[str, Path]) -> None:
    from stepguard.bench.cold import measure_cold

    with pytest.raises(StepguardError, match="exit status 1"):
        measure_cold(tiny_guards["int8"], "text", runs=1, options={"isa": "z80"})


def test_pages_are_dropped_where_that_is_possible(tmp_path: Path) -> None:
    file = tmp_path / "some"
    file.write_bytes(b"kept")
    drop_pages([file, tmp_path / "missing"])
    assert file.read_bytes() == b"kept"
