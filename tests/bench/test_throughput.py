"""Rounds of several sessions: the order of calls, the numbers, and that wrong results stop it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.bench.latency.devices import our_setup
from stepguard.bench.latency.peer import Ids, InTurn, Logits, Rounds
from stepguard.bench.latency.remote import LostPeer
from stepguard.bench.shapes import GUARDS, GuardShape
from stepguard.bench.throughput import Company, Texts, measure_throughput
from stepguard.cli import main
from stepguard.errors import StepguardError

NOTHING = np.empty(0, np.int32)
STEPS = [np.arange(n, n + 4, dtype=np.int32) for n in range(4)]
TEXTS = Texts([step[:2] for step in STEPS], STEPS, STEPS[0][:3], NOTHING)


class FakeEngine:
    """Serves `together` in `ms`, and in turn in half or twice of it."""

    def __init__(self, name: str, ms: float, *ways: str, seed: int = 0) -> None:
        self.name, self.ms, self.ways = name, ms, list(ways or ["together"])
        self.logits: Logits = np.random.default_rng(seed).standard_normal((8, 50)).astype("f4")
        self.calls: list[tuple[Any, ...]] = []

    def add(self, ids: Ids) -> None:
        self.calls.append(("add", *ids))

    def rounds(
        self, way: str, steps: Sequence[Ids], question: Ids, count: int, long: Ids
    ) -> Rounds:
        self.calls.append((way, len(steps), count, len(long)))
        elapsed = self.ms * len(steps) * count * {"together": 1, "in turn": 0.5}[way]
        latencies = [elapsed * (n + 1) for n in range(len(steps) * count)]
        return Rounds(elapsed + len(long), latencies, self.logits[: len(steps)])


def measured(*engines: FakeEngine, long: Ids = NOTHING, **more: Any) -> list[Company]:
    texts = Texts(TEXTS.contexts, TEXTS.steps, TEXTS.question, long)
    settings = {"sessions": [1, 4], "rounds": 3, "leave_out": never, **more}
    return measure_throughput(engines, texts, **settings)


def never(name: str, why: LostPeer) -> None:
    raise AssertionError(name) from why


def test_rounds_of_every_engine() -> None:
    ours, peer = FakeEngine("stepguard", 2), FakeEngine("llama.cpp", 6, "together", "in turn")
    seen: list[tuple[int, int]] = []
    one, four = measured(ours, peer, progress=lambda *now: seen.append(now))
    assert [call[0] for call in ours.calls[:4]] == ["add"] * 4
    assert ours.calls[4:8] == [("together", 1, 1, 0)] * 4
    # Both ways once, then the faster one.
    assert peer.calls[4:6] == [("together", 1, 1, 0), ("in turn", 1, 1, 0)]
    assert peer.calls[6:9] == [("in turn", 1, 1, 0)] * 3
    assert (one.name, four.name) == ("1 session", "4 sessions")
    assert four.ways == {"stepguard": "together", "llama.cpp": "in turn"}
    told = four.to_dict()
    assert told["ours_ms"] == 2
    assert told["peers"] == {"llama.cpp": 3}
    assert told["best_peer"] == "llama.cpp"
    assert told["ratio"] == pytest.approx(1.5)
    assert told["verdicts_per_second"] == {"stepguard": 500, "llama.cpp": pytest.approx(1000 / 3)}
    assert four.latency("stepguard", 50) == pytest.approx(8 * 2.5)
    assert seen == [(done, 12) for done in range(1, 13)]


def test_a_long_text_beside() -> None:
    ours, peer = FakeEngine("stepguard", 2), FakeEngine("genai", 6)
    cases = measured(ours, peer, long=np.zeros(80, np.int32), sessions=[4])
    assert [case.name for case in cases] == ["4 sessions", "4 sessions beside a read of 80"]
    assert ours.calls[-1] == ("together", 4, 3, 80)
    assert cases[1].median("stepguard") == pytest.approx((2 * 4 * 3 + 80) / 12)
    assert cases[1].to_dict()["beside"] == 80


def test_no_time_for_other_answers() -> None:
    with pytest.raises(StepguardError, match=r"1 session: genai: .*cosine"):
        measured(FakeEngine("stepguard", 1), FakeEngine("genai", 1, seed=1))

    class Shifting(FakeEngine):
        def rounds(self, way: str, steps: Sequence[Ids], *more: Any) -> Rounds:
            done = super().rounds(way, steps, *more)
            return Rounds(done.elapsed, done.latencies, done.logits + np.float32(len(steps) > 1))

    with pytest.raises(StepguardError, match="4 sessions: expected the same bits"):
        measured(Shifting("stepguard", 1))


class Failing(FakeEngine):
    """Fails at its call of this number, counted from 0."""

    def __init__(self, name: str, at: int) -> None:
        super().__init__(name, 6)
        self.at = at

    def add(self, ids: Ids) -> None:
        self._fail()
        super().add(ids)

    def rounds(self, way: str, steps: Sequence[Ids], *more: Any) -> Rounds:
        self._fail()
        return super().rounds(way, steps, *more)

    def _fail(self) -> None:
        if len(self.calls) == self.at:
            raise LostPeer(self.name, expected="an answer", got="its end")


# Of 4 sessions that are added; then 1 round to warm up, 3 timed and one call beside a read.
@pytest.mark.parametrize("at", [0, 3, 4, 5, 7, 8, 9, 13], ids=lambda at: f"call {at}")
def test_the_others_go_on(at: int) -> None:
    said: list[tuple[str, str]] = []
    seen: list[tuple[int, int]] = []
    ours, failing = FakeEngine("stepguard", 2), Failing("genai", at)
    peer = FakeEngine("llama.cpp", 6)
    cases = measured(
        ours,
        failing,
        peer,
        long=np.zeros(8, np.int32),
        leave_out=lambda name, why: said.append((name, why.got)),
        progress=lambda *now: seen.append(now),
    )
    assert said == [("genai", "its end")]
    assert len(failing.calls) == at  # it is not asked again
    assert ours.calls == peer.calls
    assert len(ours.calls) == 4 + 2 * 5
    assert seen == [(done, 14) for done in range(1, 15)]
    for case in cases:
        told = case.to_dict()
        for found in (case.times, case.latencies, case.ways, told["verdicts_per_second"]):
            assert list(found) == ["stepguard", "llama.cpp"]
        assert list(case.cosines) == ["llama.cpp"]
        assert len(case.times["stepguard"]) == (1 if case.beside else 3)


@pytest.mark.parametrize("at", [0, 4, 6, 8])
def test_ours_that_fails_ends_it(at: int) -> None:
    with pytest.raises(LostPeer, match="its end"):
        measured(Failing("stepguard", at), FakeEngine("genai", 1), long=np.zeros(8, np.int32))


class Slow(InTurn):
    """Counts what it reads; every step takes 10 ms."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def read(self, ids: Ids) -> None: ...
    def add(self, ids: Ids) -> None: ...
    def again(self, ids: Ids) -> tuple[float, Logits]:
        return 0.0, np.empty(0, np.float32)

    def use(self, session: int) -> None:
        self.session = session

    def beside(self, ids: Ids, first: bool) -> None:
        self.calls.append(("beside", len(ids), first))

    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]:
        self.calls.append(("step", self.session))
        return 10.0, np.full(2, self.session, np.float32)


def test_an_engine_that_knows_no_sessions() -> None:
    engine = Slow()
    done = engine.rounds("in turn", STEPS[:2], TEXTS.question, 2, np.zeros(5, np.int32))
    assert engine.calls == [
        ("beside", 3, True),
        ("step", 0),
        ("step", 1),
        ("beside", 2, False),
        ("step", 0),
        ("step", 1),
    ]
    assert done.logits.tolist() == [[0, 0], [1, 1]]
    read = done.elapsed - 40
    assert read > 0
    assert done.latencies[1] == pytest.approx(done.latencies[0] + 10)
    assert done.latencies[0] + done.latencies[2] == pytest.approx(20 + read)


def test_a_model_alone(
    tiny_guards: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "throughput", str(tiny_guards["int8"]), "--context", "40", "--new", "4"]
    words += ["--question", "3", "--sessions", "1,3", "--rounds", "2", "--beside", "50"]
    words += ["--threads", "1", "--json", str(tmp_path / "j.json"), "--work", str(tmp_path / "w")]
    assert main([*words, "--plot", str(tmp_path / "t.png")]) == 0
    assert (tmp_path / "t.png").read_bytes()[:4] == b"\x89PNG"
    report = json.loads((tmp_path / "j.json").read_text())
    assert [case["sessions"] for case in report["cases"]] == [1, 1, 3, 3]
    assert [case["beside"] for case in report["cases"]] == [0, 50, 0, 50]
    assert set(report["missing"]) == {"genai", "llama.cpp"}
    assert report["machine"]["threads"] == our_setup(1).threads == 1
    for case in report["cases"]:
        assert case["best_peer"] is None
        latency = case["latency_ms"]["stepguard"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    out = capsys.readouterr()
    assert "verdicts/s" in out.out
    assert "not measured: genai (a model directory is for stepguard alone)" in out.out


def test_wrong_usage(tiny_guards: dict[str, Path], tmp_path: Path) -> None:
    model = str(tiny_guards["int8"])
    for words in ([], [model, "--shape", "qwen3.5-0.8b"], [model, "--context", "1000000"]):
        with pytest.raises(SystemExit) as stop:
            main(["bench", "throughput", *words, "--work", str(tmp_path)])
        assert stop.value.code == 2


@pytest.mark.slow
def test_beside_transformers(
    small: dict[str, GuardShape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GUARDS, "qwen3.5-4b", small["qwen3.5-4b"])
    words = ["bench", "throughput", "--shape", "qwen3.5-4b", "--context", "40", "--new", "4"]
    words += ["--question", "3", "--sessions", "1,3", "--rounds", "2", "--beside", "50"]
    words += ["--threads", "1", "--json", str(tmp_path / "j.json"), "--work", str(tmp_path / "w")]
    assert main([*words, "--peers", "transformers"]) == 0
    for case in json.loads((tmp_path / "j.json").read_text())["cases"]:
        assert case["cosines"]["transformers"] > 0.999
        assert case["ratio"] > 0
