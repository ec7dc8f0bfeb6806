"""What modes have in common, by hand and on a small guard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stepguard.bench.modes import (
    _correlation,
    _ranks,
    ask_all,
    compare_modes,
    read_verdicts,
    verdict_modes,
)
from stepguard.bench.opened import opened
from stepguard.bench.samples import read_samples
from stepguard.cli import main
from stepguard.errors import PromptError
from stepguard.export import export_model
from stepguard.taxonomy import GuardId, Reason, Status, Verdict
from tests.export.tiny import make_checkpoint


def verdict(margin: float | None) -> Verdict:
    if margin is None:
        return Verdict(
            status=Status.UNAVAILABLE, reason=Reason.MALFORMED, guard=GuardId("", ""), mode="x"
        )
    status = Status.UNSAFE if margin >= 0 else Status.SAFE
    return Verdict(status=status, margin=margin, guard=GuardId("", ""), mode="x")


def test_agreement_by_hand() -> None:
    first = [verdict(m) for m in (1.0, -1.0, None, 3.0, -2.0, 0.5)]
    second = [verdict(m) for m in (2.0, 1.0, 4.0, 5.0, None, -1.0)]
    found = compare_modes("a", first, "b", second)
    assert (found.verdicts, found.both, found.agree) == (6, 4, 2)
    assert (found.first_unavailable, found.second_unavailable) == (1, 1)
    a, b = np.array([1.0, -1.0, 3.0, 0.5]), np.array([2.0, 1.0, 5.0, -1.0])
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    assert found.correlation == pytest.approx(covariance / (a.std() * b.std()))
    # Ranks 2 0 3 1 and 2 1 3 0: 1 - 6 * (1 + 1) / (4 * 15)
    assert found.rank_correlation == pytest.approx(0.8)


def test_too_few_or_equal_margins_have_no_correlation() -> None:
    one, two = np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])
    assert _correlation(one, two) is _correlation(two[:2], two[:2]) is None
    assert _correlation(two, -two) == pytest.approx(-1.0)
    assert _ranks(np.array([5.0, 1.0, 5.0, 7.0])).tolist() == [1.5, 0.0, 1.5, 3.0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random guard with two modes."""
    folder = tmp_path_factory.mktemp("modes")
    checkpoint = make_checkpoint(folder / "checkpoint", "llama", seed=3)
    prompt = folder / "prompt.txt"
    prompt.write_text("Judge:\n<LOG>\n{trajectory}\n</LOG>\nAnswer.")
    export_model(checkpoint, folder / "model", quant="float32", prompt=prompt)
    return folder / "model"


def test_every_mode_is_asked_the_same(model: Path, data: Path) -> None:
    samples = read_samples([data], 2)
    with opened(model, threads=1) as guard:
        assert verdict_modes(guard) == ["first_token", "rationale"]
        asked = ask_all(guard, samples, 10_000)
        read = read_verdicts(guard, asked)
        expected = guard.guard.moderate_many([sample.trajectory for sample in samples])
    assert [v.margin for v in read] == [v.margin for found in expected for v in found]
    with opened(model, threads=1, mode="rationale", rationale_limit=8) as guard:
        written = read_verdicts(guard, asked)
        expected = guard.guard.moderate_many([sample.trajectory for sample in samples])
    assert {v.mode for v in written} == {"rationale"}
    assert [v.rationale for v in written] == [v.rationale for found in expected for v in found]


def test_the_command(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "fidelity", str(model), "--modes", "--data", str(data), "--limit", "2"]
    words += ["--rationale-limit", "8", "--threads", "1"]
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["benchmark"] == "modes"
    assert list(value["seconds"]) == ["first_token", "rationale"]
    (found,) = value["agreements"]
    assert (found["first"], found["second"], found["verdicts"]) == ("first_token", "rationale", 4)
    assert main(words) == 0
    assert "first_token and rationale" in " ".join(capsys.readouterr().out.split())


def test_a_guard_with_one_mode(
    tiny_guards: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(tiny_guards["int8"], threads=1) as guard, pytest.raises(PromptError, match="two"):
        verdict_modes(guard)
    words = ["bench", "fidelity", str(tiny_guards["int8"]), "--modes", "--kv", "fp16"]
    with pytest.raises(SystemExit):
        main([*words, "--data", str(data)])
    assert "--modes takes one guard" in capsys.readouterr().err
