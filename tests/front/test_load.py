"""Loading a model directory, damaged in every way: a named error, and nothing left open."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard, Reason, Step, opening
from stepguard.errors import (
    ModelFormatError,
    ModelTamperedError,
    PromptError,
    RuntimeMissingError,
    TokenizerError,
)
from stepguard.manifest import load
from tests.front.manifests import sample
from tests.front.test_guard import TALK, TRAJECTORY, answers, pushed
from tests.front.test_integrity import open_files

MEMORY = 16 << 20


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model with a real tokenizer and our short prompt."""
    from stepguard.export import export_model
    from tests.export.tiny import make_checkpoint

    folder = tmp_path_factory.mktemp("front")
    checkpoint = make_checkpoint(folder / "checkpoint", "llama", 3, max_position_embeddings=2048)
    export_model(checkpoint, folder / "model", quant="int8", template="short")
    return folder / "model"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def rewrite(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    change(manifest)
    (model / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("value", [TRAJECTORY, TALK])
def test_at_once_is_step_by_step_to_the_bit(original: Path, value: dict[str, Any]) -> None:
    with Guard.load(original, memory=MEMORY) as guard:
        expected = answers(pushed(guard, value))
        assert answers(guard.moderate(value)) == expected
        assert answers(guard.moderate_many([TALK, value, TRAJECTORY])[1]) == expected


def test_sessions_side_by_side(original: Path) -> None:
    with Guard.load(original, memory=MEMORY, threads=2, chunk=64) as guard:
        alone = answers(pushed(guard, TRAJECTORY))
        seen: list[bool] = []

        def work() -> None:
            seen.append(answers(pushed(guard, TRAJECTORY)) == alone)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert seen == [True] * 4


def test_full_memory_takes_from_idle_sessions_and_loses_nothing(original: Path) -> None:
    with Guard.load(original, memory=1 << 20) as guard:
        sessions = [guard.session() for _ in range(60)]
        step = Step.user("word " * 100)
        margins = {session.push(step).margin for session in sessions}
        stats = guard.stats()
        again = sessions[0].judge()
        assert guard.stats()["tokens"] > stats["tokens"] + 100  # its State was given away
        assert margins == {again.margin}
        assert again.coverage == 1.0


def test_what_cannot_fit_is_unavailable(original: Path) -> None:
    with Guard.load(original, memory=1 << 18) as guard, guard.session() as session:
        verdict = session.push(Step.user("word " * 900))
        assert verdict.reason in (Reason.MEMORY, Reason.OVERFLOW)
        assert not verdict.allowed


def test_a_second_start_reads_no_prefix(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    step, margins, read = Step.user("hello"), [], []
    for number in range(4):
        with Guard.load(original, memory=MEMORY) as guard:
            read.append(guard.stats()["tokens"])
            margins.append(guard.session().push(step).margin)
        (saved,) = (tmp_path / "stepguard" / "prefix").glob("*.state")
        if number == 1:  # damaged
            saved.write_bytes(saved.read_bytes()[:-1] + b"x")
        if number == 2:  # written by somebody else, perhaps
            saved.chmod(0o666)
    assert read[0] > 0
    assert read[1] == 0
    assert read[2] == read[3] == read[0]
    assert len(set(margins)) == 1


def test_a_saved_prefix_belongs_to_its_activations(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    step, margins, read = Step.user("hello"), [], []
    for activations in ("int8", "fp32", None, "fp32"):
        with Guard.load(original, memory=MEMORY, activations=activations) as guard:
            assert guard.activations == (activations or "int8")
            read.append(guard.stats()["tokens"])
            margins.append(guard.session().push(step).margin)
    assert read[0] == read[1] > 0
    assert read[2:] == [0, 0]
    assert margins[0] == margins[2]
    assert margins[1] == margins[3] != margins[0]
    assert len(list((tmp_path / "stepguard" / "prefix").glob("*.state"))) == 2


def test_a_deadline_keeps_what_was_read(original: Path) -> None:
    with Guard.load(original, memory=MEMORY, chunk=1, threads=1) as guard:
        step = Step.user("word " * 300)
        with guard.session() as session, guard.session() as calm:
            verdict = session.push(step, deadline_ms=30)
            while verdict.reason is Reason.DEADLINE:  # each goes on where the one before stopped
                verdict = session.judge(deadline_ms=30)
            assert verdict.margin == calm.push(step).margin


def test_more_than_the_context(original: Path) -> None:
    with Guard.load(original, memory=MEMORY) as guard, guard.session() as session:
        verdict = session.push(Step.user("many words " * 2000))
        assert verdict.reason is Reason.OVERFLOW
        assert "context" in verdict.message


def test_closing_under_way(original: Path) -> None:
    guard = Guard.load(original, memory=MEMORY, chunk=1, threads=1)
    session = guard.session()
    found: list[Any] = []
    worker = threading.Thread(target=lambda: found.append(session.push(Step.user("word " * 400))))
    worker.start()
    while guard.stats()["tokens"] < 300:
        pass
    guard.close()
    worker.join(30)
    assert found[0].reason in (Reason.CLOSING, None)


def test_files_of_another_export(model: Path) -> None:
    weights = bytearray((model / "weights.bin").read_bytes())
    weights[1000] ^= 1
    (model / "weights.bin").write_bytes(weights)
    with pytest.raises(ModelTamperedError, match=r"weights\.bin"):
        Guard.load(model, memory=MEMORY)


def test_a_swap_while_loading(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = opening.Engine
    closed: list[bool] = []

    def swapping(folder: Path, **options: Any) -> Any:
        other = tmp_path / "other.bin"
        shutil.copy(folder / "weights.bin", other)
        other.replace(folder / "weights.bin")
        engine = real(folder, **options)
        close = engine.close
        monkeypatch.setattr(engine, "close", lambda: (closed.append(True), close()))
        return engine

    monkeypatch.setattr(opening, "Engine", swapping)
    with pytest.raises(ModelTamperedError, match=r"weights\.bin"):
        Guard.load(model, memory=MEMORY)
    assert closed == [True]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda m: m.update(format_version=2), ModelFormatError, "Upgrade"),
        (lambda m: m["architecture"].update(layers=3), ModelFormatError, "kv"),
        (lambda m: m["architecture"].update(vocabulary=100), TokenizerError, "100 rows"),
        (lambda m: m["prompt"].update(mode="rationale"), PromptError, "mode"),
        (lambda m: m["prompt"].pop("modes"), PromptError, "modes"),
    ],
)
def test_manifests_that_do_not_fit(model: Path, change: Any, error: Any, text: str) -> None:
    rewrite(model, change)
    with pytest.raises(error, match=text):
        Guard.load(model, memory=MEMORY)


def test_options(original: Path) -> None:
    with Guard.load(original, memory=MEMORY, isa="generic", kv="fp32", threads=3) as guard:
        assert (guard.isa, guard.kv, guard.threads) == ("generic", "fp32", 3)
    with pytest.raises(RuntimeMissingError, match="mmx"):
        Guard.load(original, isa="mmx")
    with pytest.raises(ValueError, match="memory"):
        Guard.load(original, memory=1)
    with pytest.raises(ValueError, match="fp8"):
        Guard.load(original, kv="fp8")
    with pytest.raises(ValueError, match="'fp32', 'int8', 'bf16', got 'int4'"):
        Guard.load(original, activations="int4")


def test_what_it_was_calibrated_for_runs(model: Path) -> None:
    """One that was calibrated for rows in integers takes them where the engine would not."""

    def activations() -> str | None:
        return opening._calibrated_for(load(model))

    assert activations() is None
    entries = sample()["calibration"]
    for kinds, wanted in ((["int8"], "int8"), (["int8", "bf16"], None), (["bf16"], None)):
        several = [entries[0] | {"activations": kind} for kind in kinds]
        rewrite(model, lambda value, several=several: value.update(calibration=several))
        assert activations() == wanted


def test_nothing_stays_open(model: Path) -> None:
    Guard.load(model, memory=MEMORY).close()
    (model / "model.onnx").write_bytes(b"no graph")
    before = open_files()
    for _ in range(3):
        with pytest.raises(ModelTamperedError):
            Guard.load(model, memory=MEMORY)
    assert open_files() == before
